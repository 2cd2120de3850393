// What the loaders of both runtimes share.

export function checkNames(what, rows, found) {
  const described = rows.map(({ name }) => name);
  if ([...described].sort().join() !== [...found].sort().join()) {
    throw new Error(
      `manifest.json describes the ${what} ${described.join(", ")}, but the file has ${found.join(", ")}; export again`,
    );
  }
}

// Where a file runs, for the name of the runtime.
export function placed(accelerator, threads) {
  return accelerator === "wasm" ? `wasm, ${threads} thread${threads > 1 ? "s" : ""}` : accelerator;
}

// An error that is not the file's fault.
export function unavailable(reason) {
  return Object.assign(new Error(reason), { unavailable: true });
}
