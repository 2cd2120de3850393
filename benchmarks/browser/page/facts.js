// What the page tells the computer about its browser: the fields of `Facts` (facts.py).

const CLOCK_STEPS = 20;
const CLOCK_LIMIT_MS = 200;

export async function readFacts() {
  const gpu = await adapterName();
  return {
    user_agent: navigator.userAgent,
    model: await phoneModel(),
    cores: navigator.hardwareConcurrency || 1,
    memory_gib: navigator.deviceMemory ?? null,
    secure: isSecureContext,
    isolated: crossOriginIsolated,
    backends: ["wasm", ...(gpu === null ? [] : ["webgpu"]), ...((await hasNeuralNetworks()) ? ["webnn"] : [])],
    gpu,
    clock_ms: clockStep(),
  };
}

// Smallest step between readings that differ.
export function clockStep() {
  const begin = performance.now();
  let smallest = CLOCK_LIMIT_MS;
  let before = begin;
  for (let steps = 0; steps < CLOCK_STEPS && before - begin < CLOCK_LIMIT_MS; ) {
    const now = performance.now();
    if (now > before) {
      smallest = Math.min(smallest, now - before);
      steps += 1;
      before = now;
    }
  }
  return Number(smallest.toPrecision(2));
}

async function adapterName() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  if (!adapter) {
    return null;
  }
  const { vendor, architecture } = adapter.info ?? {};
  return [vendor, architecture].filter(Boolean).join(" ") || "unnamed adapter";
}

// WebNN exists in browsers that support no device by it.
async function hasNeuralNetworks() {
  return Boolean(await navigator.ml?.createContext().catch(() => null));
}

async function phoneModel() {
  const told = await navigator.userAgentData?.getHighEntropyValues(["model"]).catch(() => null);
  return told?.model || null;
}
