// Runs LiteRT files in LiteRT.js.

import { checkNames, placed, unavailable } from "./loading.js";

// Name of the program for clips in a file with several programs.
const CLIP_SIGNATURE = "serving_default";
const DTYPES = ["float32", "int32"];

export async function load(bytes, { assets, accelerator, threads, version, inputs, outputs, entry }) {
  const strange = inputs.find(({ dtype }) => !DTYPES.includes(dtype));
  if (strange) {
    throw unavailable(`LiteRT.js takes ${DTYPES.join(" and ")} inputs; ${strange.name} is ${strange.dtype}`);
  }
  const folder = `${assets}litert/`;
  const { loadLiteRt, loadAndCompile, Tensor } = await import(`${folder}index.js`);
  // Its script finds its other files by this object; without it, relative to the worker.
  self.Module = {
    locateFile: (name) => folder + name,
    mainScriptUrlOrBlob: `${folder}litert_wasm_threaded_internal.js`,
  };
  // The build with JSPI is the one that runs on accelerators; it has one thread.
  await loadLiteRt(folder, accelerator === "wasm" ? { threads: threads > 1 } : { jspi: true });
  const model = await loadAndCompile(bytes, { accelerator, cpuOptions: { numThreads: threads } });
  const keys = Object.keys(model.signatures);
  const wanted = entry ?? (keys.length === 1 ? keys[0] : CLIP_SIGNATURE);
  const signature = model.signatures[wanted];
  if (!signature) {
    throw new Error(`the file has the signatures ${keys.join(", ")}; ${wanted} is missing`);
  }
  checkNames("inputs", inputs, signature.getInputDetails().map(({ name }) => name));
  checkNames("outputs", outputs, signature.getOutputDetails().map(({ name }) => name));

  async function run(arrays) {
    const feeds = {};
    inputs.forEach(({ name, shape }, index) => {
      feeds[name] = new Tensor(arrays[index], shape);
    });
    const given = await signature.run(feeds);
    const read = await Promise.all(outputs.map(({ name }) => given[name].data()));
    for (const tensor of [...Object.values(feeds), ...Object.values(given)]) {
      tensor.delete();
    }
    return read;
  }

  const part = accelerator === "wasm" || model.isFullyAccelerated ? "" : ", partly on the processor";
  return { run, name: `LiteRT.js ${version} (${placed(accelerator, threads)}${part})` };
}
