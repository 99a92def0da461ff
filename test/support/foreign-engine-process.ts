/** Runs one statement in the embedded ClickHouse and prints its rows, one JSON object a line. Argument: the statement. */
import { Session } from "chdb";

const session = new Session();
console.log(session.query(process.argv[2] ?? "", "JSONEachRow"));
session.cleanup();
