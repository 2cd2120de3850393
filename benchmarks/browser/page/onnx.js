// Runs ONNX files in onnxruntime-web.

import { checkNames, placed } from "./loading.js";

const BUILDS = {
  wasm: ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"],
  webgpu: ["ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"],
  webnn: ["ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"],
};

export async function load(bytes, { assets, accelerator, threads, version, inputs, outputs }) {
  const [bundle, binary] = BUILDS[accelerator];
  const ort = await import(`${assets}onnx/${bundle}`);
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = { wasm: `${assets}onnx/${binary}` };
  const session = await ort.InferenceSession.create(bytes, { executionProviders: [accelerator] });
  checkNames("inputs", inputs, session.inputNames);
  checkNames("outputs", outputs, session.outputNames);
  const names = outputs.map(({ name }) => name);

  async function run(arrays) {
    const feeds = {};
    inputs.forEach(({ name, dtype, shape }, index) => {
      feeds[name] = new ort.Tensor(dtype, arrays[index], shape);
    });
    const given = await session.run(feeds, names);
    return Promise.all(names.map((name) => given[name].getData()));
  }

  return { run, name: `onnxruntime-web ${version} (${placed(accelerator, threads)})` };
}
