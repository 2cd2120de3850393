// Takes commands from the computer, has workers carry them out, and sends the replies.
//
// One request at a time brings the reply to the last command and waits for the next. A request whose connection
// broke is repeated; the computer then gives the same command again.

import { readFacts } from "./facts.js";
import { readMessage, writeMessage } from "./message.js";
import { closeAll, perform } from "./sessions.js";
import { finishFiles, showFacts, showState } from "./view.js";

const ALIVE_MS = 3000;
const RETRY_MS = 1000;
const RETRIES = 20;
const VISIT = "pocketreel-page";

class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function post(address, body) {
  for (let failed = 0; ; failed += 1) {
    let response;
    try {
      response = await fetch(address, { method: "POST", body });
    } catch {
      if (failed === RETRIES) {
        throw new Error("the computer cannot be reached any more");
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      continue;
    }
    if (!response.ok) {
      throw new Refused(response.status, await response.text());
    }
    return response;
  }
}

async function measure() {
  const facts = await readFacts();
  showFacts(facts);
  const previous = sessionStorage.getItem(VISIT);
  const query = previous ? `?previous=${previous}` : "";
  const { page } = await (await post(`hello${query}`, JSON.stringify(facts))).json();
  sessionStorage.setItem(VISIT, page);
  stayAwake();
  const alive = setInterval(() => {
    fetch(`alive?page=${page}&hidden=${document.hidden}`, { method: "POST", body: "" }).catch(() => {});
  }, ALIVE_MS);
  const leave = () => navigator.sendBeacon(`leave?page=${page}`);
  addEventListener("pagehide", leave);
  try {
    return await takeTurns(page);
  } finally {
    clearInterval(alive);
    removeEventListener("pagehide", leave);
    sessionStorage.removeItem(VISIT);
    closeAll();
  }
}

// Carries out commands until the last one, which it returns.
async function takeTurns(page) {
  let answered = 0;
  let body = "";
  showState("running", "Connected", "waiting for the first file; keep this page open and in front");
  for (;;) {
    let response;
    try {
      response = await post(`turn?page=${page}&answered=${answered}`, body);
    } catch (error) {
      if (error.status !== 400 || body === "") {
        throw error;
      }
      body = writeMessage({ outcome: "failed", value: `the reply was refused: ${error.message}` });
      continue;
    }
    if (response.status === 204) {
      body = "";
      continue;
    }
    let buffer;
    try {
      buffer = await response.arrayBuffer();
    } catch {
      continue; // the connection broke: ask again
    }
    const { header, arrays } = readMessage(buffer);
    if (header.name === "end") {
      return header.argument;
    }
    const { reply, values } = await perform(header, arrays);
    answered = header.number;
    body = writeMessage(reply, values);
  }
}

// Keeps the screen on, where the browser lets a page do so.
function stayAwake() {
  const ask = () => document.hidden || navigator.wakeLock?.request("screen").catch(() => {});
  document.addEventListener("visibilitychange", ask);
  ask();
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

try {
  const { completed } = await measure();
  const failed = finishFiles(completed ? "measured" : "not finished");
  if (!completed) {
    showState("failed", "Stopped", "The computer ended the measurement early. You can close this page.");
  } else if (failed > 0) {
    const count = failed === 1 ? "1 file was not measured" : `${failed} files were not measured`;
    showState("failed", "Finished with failures", `${count}; the reasons are below. You can close this page.`);
  } else {
    showState("done", "Finished", "The figures are on the computer. You can close this page.");
  }
} catch (error) {
  finishFiles("not finished");
  showState("failed", "Not measuring", `${sentence(error.message)}. See the terminal of the computer.`);
}
