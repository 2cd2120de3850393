// The commands to the worker of one file: load, hold, time_runs, infer.

import { clockStep } from "./facts.js";

const RUNTIMES = { onnx: "./onnx.js", tflite: "./litert.js" };

// Steps of the clock that a timed block takes at least, so that its time is known to 5 %.
const BLOCK_STEPS = 20;

// Time after which inferences are fast enough to choose the size of blocks.
const WARM_UP_MS = 100;

let file; // {inputs, outputs}: rows of the manifest
let run; // inputs to outputs, both in the order of the manifest
let held;
let block; // inferences that are timed as one

export async function load(argument) {
  const assets = new URL("../assets/", import.meta.url).href;
  const response = await fetch(new URL(`../${argument.address}`, import.meta.url));
  if (!response.ok) {
    throw new Error(`the file could not be fetched: ${response.status} ${await response.text()}`);
  }
  const bytes = new Uint8Array(await response.arrayBuffer());
  const runtime = await import(RUNTIMES[argument.format]);
  file = argument;
  const loaded = await runtime.load(bytes, { ...argument, assets });
  run = loaded.run;
  return { value: loaded.name, values: [] };
}

export async function hold(argument, arrays) {
  held = arrays;
  const least = BLOCK_STEPS * clockStep();
  const warmEnough = performance.now() + WARM_UP_MS;
  do {
    await run(held);
  } while (performance.now() < warmEnough);
  for (block = 1; ; block *= 2) {
    const begin = performance.now();
    await repeat(block);
    const elapsed = performance.now() - begin;
    if (elapsed >= least) {
      block = Math.max(1, Math.ceil((block * least) / elapsed));
      break;
    }
  }
  return { value: "", values: [] };
}

export async function time_runs({ count }) {
  const elapsed = new Float64Array(count);
  await run(held);
  for (let done = 0; done < count; done += block) {
    const begin = performance.now();
    await repeat(block);
    elapsed.fill((performance.now() - begin) / block, done, done + block);
  }
  return { value: "", values: [{ dtype: "float64", shape: [count], values: elapsed }] };
}

export async function infer({ clips }, arrays) {
  const logits = file.outputs.map(({ shape }) => {
    const classes = shape.at(-1);
    return { dtype: "float32", shape: [clips, classes], values: new Float32Array(clips * classes) };
  });
  for (let clip = 0; clip < clips; clip += 1) {
    const inputs = arrays.map((values) => {
      const size = values.length / clips;
      return values.subarray(clip * size, (clip + 1) * size);
    });
    const given = await run(inputs);
    given.forEach((values, index) => {
      const { shape, values: all } = logits[index];
      if (values.length !== shape[1]) {
        const { name } = file.outputs[index];
        throw new Error(`output ${name} has ${values.length} values, manifest.json lists ${shape[1]}; export again`);
      }
      all.set(values, clip * shape[1]);
    });
  }
  return { value: "", values: logits };
}

async function repeat(count) {
  for (let index = 0; index < count; index += 1) {
    await run(held);
  }
}
