/**
 * How schemas are made: walked through, not compiled. What they check is read once, or seldom; compiling
 * them takes longer than that, and its code stays in memory (5 MB of the agent's heap).
 *
 * Invariant: a module that makes schemas imports this one before it imports them.
 */
import { configure } from "arktype/config";

configure({ jitless: true });
