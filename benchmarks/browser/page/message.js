// Messages between the page and the computer: see message.py, which describes the layout.

const ALIGNMENT = 8;

const TYPES = {
  float32: Float32Array,
  float16: Uint16Array, // the bits: not every browser has Float16Array
  float64: Float64Array,
  int64: BigInt64Array,
  int32: Int32Array,
};

export function readMessage(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let begin = 4 + length;
  const arrays = header.arrays.map(({ dtype, shape }) => {
    const values = new TYPES[dtype](buffer, begin, shape.reduce((product, size) => product * size, 1));
    begin += values.byteLength + padding(values.byteLength);
    return values;
  });
  return { header, arrays };
}

// `arrays` are {dtype, shape, values}.
export function writeMessage(header, arrays = []) {
  const rows = arrays.map(({ dtype, shape }) => ({ dtype, shape }));
  let text = new TextEncoder().encode(JSON.stringify({ ...header, arrays: rows }));
  const length = text.length + padding(4 + text.length);
  const head = new Uint8Array(4 + length).fill(" ".charCodeAt(0));
  new DataView(head.buffer).setUint32(0, length, true);
  head.set(text, 4);
  const parts = [head];
  for (const { values } of arrays) {
    parts.push(values, new Uint8Array(padding(values.byteLength)));
  }
  return new Blob(parts);
}

function padding(bytes) {
  return (ALIGNMENT - (bytes % ALIGNMENT)) % ALIGNMENT;
}
