// What the page shows: the state of the measurement, and a card for each file.

const byId = (id) => document.getElementById(id);
const cards = new Map();

export function showState(state, headline, detail) {
  byId("status").dataset.state = state;
  byId("headline").textContent = headline;
  byId("detail").textContent = detail;
  document.title = `${headline} · Pocketreel`;
}

export function showFacts(facts) {
  const rows = {
    processors: facts.cores,
    memory: facts.memory_gib === null ? "not told" : `about ${facts.memory_gib} GiB`,
    threads: facts.isolated ? "yes" : "no, the page is not cross-origin isolated",
    backends: facts.backends.join(", ") + (facts.gpu ? ` (${facts.gpu})` : ""),
    clock: `steps of ${facts.clock_ms} ms`,
  };
  byId("facts").replaceChildren(
    ...Object.entries(rows).flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]),
  );
  byId("browser").hidden = false;
}

// Marks the file that a command concerns; `state` is a word such as "timing".
export function showWork(file, state) {
  for (const [name, { item }] of cards) {
    item.toggleAttribute("data-active", name === file);
  }
  const card = cardOf(file);
  card.item.setAttribute("data-active", "");
  card.item.dataset.state = "working";
  card.state.textContent = state;
  showState("running", "Measuring", `${state} ${file}; keep this page open and in front`);
}

export function showResult(file, state, note) {
  const card = cardOf(file);
  card.item.removeAttribute("data-active");
  card.item.dataset.state = "ready";
  card.state.textContent = state;
  if (note) {
    card.note.textContent = note;
  }
}

export function showFailure(file, reason) {
  const card = cardOf(file);
  card.item.removeAttribute("data-active");
  card.item.dataset.state = "failed";
  card.state.textContent = "not measured";
  card.note.textContent = reason;
}

// Marks the files that did not fail with a last word; gives the number of those that failed.
export function finishFiles(word) {
  const failed = [...cards.values()].filter(({ item }) => item.dataset.state === "failed");
  for (const { item, state } of cards.values()) {
    item.removeAttribute("data-active");
    if (item.dataset.state !== "failed") {
      state.textContent = word;
    }
  }
  return failed.length;
}

function cardOf(file) {
  if (!cards.has(file)) {
    const item = element("li", "");
    const card = { item, state: element("span", "state"), note: element("p", "note") };
    item.append(element("span", "name", file), card.state, card.note);
    byId("files").append(item);
    cards.set(file, card);
  }
  return cards.get(file);
}

function element(tag, name, text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}
