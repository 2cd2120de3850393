// Sessions of files: one worker each, so that a crash or an endless inference ends that file alone.

import { showFailure, showResult, showWork } from "./view.js";

const workers = new Map(); // session number -> {worker, inferences, clips}

const WORDS = { load: "loading", hold: "loading", time_runs: "timing", infer: "classifying clips with" };

// Carries out a command. Returns the reply and its arrays; never throws.
export async function perform({ name, argument, limit_s: limitS }, arrays) {
  const { session: number, file } = argument;
  if (name === "close") {
    end(number);
    return { reply: { outcome: "ok", value: "" }, values: [] };
  }
  showWork(file, WORDS[name]);
  try {
    if (name === "load") {
      start(number);
    }
    const session = workers.get(number);
    if (!session) {
      throw new Error("its worker has ended");
    }
    const { value, values } = await ask(session.worker, { name, argument, arrays }, limitS);
    showResult(file, "ready", noteOf(session, name, value, values));
    return { reply: { outcome: "ok", value }, values };
  } catch (error) {
    end(number);
    showFailure(file, error.message);
    return { reply: { outcome: error.unavailable ? "unavailable" : "failed", value: error.message }, values: [] };
  }
}

export function closeAll() {
  [...workers.keys()].forEach(end);
}

function start(number) {
  workers.set(number, { worker: new Worker(new URL("worker.js", import.meta.url)), inferences: 0, clips: 0 });
}

function end(number) {
  workers.get(number)?.worker.terminate();
  workers.delete(number);
}

// One exchange with a worker; rejects if it fails, dies, or does not answer in time.
function ask(worker, command, limitS) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer within ${limitS} s`)), limitS * 1000);
    worker.onmessage = ({ data }) => {
      clearTimeout(timer);
      if (data.reason === undefined) {
        resolve(data);
      } else {
        reject(Object.assign(new Error(data.reason), { unavailable: data.unavailable }));
      }
    };
    worker.onerror = (event) => {
      clearTimeout(timer);
      event.preventDefault();
      reject(new Error(`its worker failed: ${event.message ?? "it could not be started"}`));
    };
    worker.onmessageerror = () => reject(new Error("its worker sent an unreadable message"));
    worker.postMessage(command);
  });
}

function noteOf(session, name, value, values) {
  if (name === "load") {
    return value;
  }
  if (name === "time_runs") {
    session.inferences += values[0].shape[0];
    const times = [...values[0].values].sort((one, other) => one - other);
    const median = times[Math.floor(times.length / 2)];
    const inferences = session.inferences === 1 ? "1 inference" : `${session.inferences} inferences`;
    return `${median.toPrecision(3)} ms in this browser, ${inferences}`;
  }
  if (name === "infer") {
    session.clips += values[0].shape[0];
    return `${session.clips} clips classified`;
  }
  return null;
}
