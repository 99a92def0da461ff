/** Number of the descriptor that leads from an agent to its privileged process; set by the agent for itself alone. */
export const SOCKET_VARIABLE = "PROBITY_PRIVILEGED_SOCKET";
