// The worker of one file. A classic script, because LiteRT.js loads its own script by `importScripts`, which modules
// do not have; everything else is in modules.

let served;

onmessage = async ({ data: { name, argument, arrays } }) => {
  try {
    served ??= await import("./served.js");
    postMessage(await served[name](argument, arrays));
  } catch (error) {
    postMessage({ reason: describe(error), unavailable: error?.unavailable === true });
  }
};

// WebAssembly may throw numbers and other values that are no errors.
function describe(error) {
  return error instanceof Error ? `${error.name}: ${error.message}` : `the runtime stopped with ${String(error)}`;
}
