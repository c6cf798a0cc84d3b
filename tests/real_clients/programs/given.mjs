// What the test gives a program, and how the program answers: one line of JSON for each thing that it saw.
import process from "node:process";

export const { URL: url, TOKEN: token, WORKSPACE_ID: workspaceId, JOB_ID: jobId } = process.env;
export const itemIds = (process.env.ITEM_IDS ?? "").split(",");
export const orderId = process.env.ORDER_ID;
export const wsUrl = url.replace("http", "ws");

export function tell(what, facts = {}) {
  process.stdout.write(`${JSON.stringify({ what, ...facts })}\n`);
}

/** What to do when the test says a word, which it does at most once. */
export function onWord(act) {
  process.stdin.once("data", act);
}

/** Without this a program that listens does not end. */
export function endOfWords() {
  process.stdin.destroy();
}
