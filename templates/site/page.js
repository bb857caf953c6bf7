"use strict";
// The page of the compatibility table. It asks no server: everything is in the document.
// The rules of the answer are those of report/answers.py.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const VERDICTS = ["works", "partial", "broken", "unknown", "impossible"]; // best news first
  const MARKS = { works: "✓", partial: "~", broken: "✗", unknown: "?", impossible: "-" };
  const AXES = ["framework", "version", "python", "os", "accelerator", "arch"];
  const $ = (id) => document.getElementById(id);

  // --- what is known ------------------------------------------------------------------------

  const cells = data.cells.map((row, place) => {
    const cell = { place, at: row.slice(0, 6), verdict: data.verdicts[row[6]] };
    AXES.forEach((axis, number) => { cell[axis] = data.axes[axis][row[number]]; });
    cell.family = cell.framework.split("+")[0];
    const arch = cell.arch === data.plain_arch ? "" : "-" + cell.arch;
    cell.id = `${cell.framework}-${cell.version}-py${cell.python}-${cell.os}-${cell.accelerator}${arch}`;
    const [kind, cause, remedy] = data.reasons[row[7]].map((text) => text.replaceAll("{id}", cell.id));
    Object.assign(cell, { kind, cause, remedy, run: data.run[place] || null, known: data.known[cell.id] || "" });
    return cell;
  });
  const byId = new Map(cells.map((cell) => [cell.id, cell]));
  const proven = cells.filter((cell) => cell.run && (cell.verdict === "works" || cell.verdict === "partial"));
  const isCuda = (cell) => cell.accelerator !== "cpu";
  const titled = (framework) => data.titles[framework] || framework;
  const ran = (cell) => cell.run && ["works", "partial", "broken"].includes(cell.verdict);
  // What was run comes before what was not, and emulated cells come after native ones that were run.
  const rank = (cell) => VERDICTS.indexOf(cell.verdict) + (ran(cell) ? (cell.run.emulated ? 3 : 0) : 6);
  const said = (cell) => cell.verdict + (cell.run && cell.run.emulated ? " (emulated)" : "");

  // --- GPUs and drivers ---------------------------------------------------------------------

  const noise = Object.fromEntries(
    Object.entries(data.noise).map(([name, text]) => [name, new RegExp(text, "g")]));
  function gpuKey(name) {
    let plain = name.slice(0, 100).toLowerCase().replace(/[\s_]+/g, " ").trim();
    plain = plain.replace(noise.maker, " ").trim().replace(noise.slice, "");
    return plain.replace(noise.kind, " ").replace(noise.noise, "");
  }
  function findGpu(name) {
    const listed = /^\s*(?:sm_?)?(\d{1,2})\.(\d)\s*$/.exec(name);
    if (listed) {
      const capability = `${+listed[1]}.${listed[2]}`;
      return { name: capability, spoken: `compute capability ${capability}`, capability, arch: "" };
    }
    const key = gpuKey(name);
    if (data.shared[key]) return { several: data.shared[key] };
    const other = key.startsWith("quadro") ? key.slice(6) : "quadro" + key;
    const found = data.gpus[key] || data.gpus[other];
    return found ? { name: found[0], spoken: `${found[0]} (compute capability ${found[1]})`, capability: found[1], arch: found[2] } : null;
  }
  const branch = (driver) => { const found = /^\s*(\d{3,4})(?:\.\d+)*\s*$/.exec(driver); return found ? +found[1] : null; };
  const served = (cell, capability) => {
    if (!cell.run || !cell.run.caps) return "";
    if (cell.run.caps[0].includes(capability)) return "code";
    return cell.run.caps[1].includes(capability) ? "ptx" : "";
  };

  // --- the answer ---------------------------------------------------------------------------

  const architecture = (state) => state.arch || data.plain_arch;
  const asked = (state, cell) =>
    cell.framework === state.framework &&
    ["version", "python", "os"].every((axis) => !state[axis] || cell[axis] === state[axis]) &&
    (architecture(state) === "any" || cell.arch === architecture(state));
  function driverNeeded(cell, gpu) {
    const needed = [data.drivers[cell.accelerator]];
    if (gpu) {
      needed.push(data.gpu_drivers[gpu.capability] || 0);
      if (served(cell, gpu.capability) === "ptx") needed.push(data.toolkit_drivers[cell.accelerator]);
    }
    return Math.max(...needed);
  }
  // Why a cell with all values of its axes is no answer; empty: it is one.
  function hindrance(asks, cell) {
    if (!cell.run || !["works", "partial"].includes(cell.verdict)) return because(cell);
    if ((asks.gpu || asks.branch) && !isCuda(cell)) return "it is a CPU build, which uses no GPU";
    if (asks.gpu) {
      if (asks.gpu.arch && asks.gpu.arch !== cell.arch) return `${asks.gpu.name} is in machines of ${asks.gpu.arch} only`;
      if (!cell.run.caps) return "which GPUs its build serves was not observed";
      if (!served(cell, asks.gpu.capability)) return `its build has no code for ${asks.gpu.spoken}`;
    }
    const needed = driverNeeded(cell, asks.gpu);
    if (asks.branch && needed > asks.branch) return `${cell.accelerator} needs the NVIDIA driver ${needed} or newer${asks.gpu ? " on " + asks.gpu.spoken : ""}, not ${asks.branch}`;
    return "";
  }
  const order = (asks) => (one, other) => {
    const keys = (cell) => [
      rank(cell), -cell.at[1], !asks.gpu && !asks.branch && isCuda(cell) ? 1 : 0, -cell.at[4], -cell.at[2], -cell.at[3],
    ];
    const left = keys(one), right = keys(other);
    for (let place = 0; place < left.length; place += 1) {
      if (left[place] !== right[place]) return left[place] - right[place];
    }
    return one.id < other.id ? -1 : 1;
  };
  const best = (asks) => proven.filter((cell) => asked(asks, cell) && !hindrance(asks, cell)).sort(order(asks))[0] || null;
  function newer(asks, cell) {
    const told = new Map(), seen = new Set();
    cells.filter((one) => asked(asks, one) && one.at[1] > cell.at[1] && (!(asks.gpu || asks.branch) || isCuda(one)) && (proven.includes(one) || !(asks.branch && driverNeeded(one, asks.gpu) > asks.branch)))
      .sort((one, other) => other.at[1] - one.at[1] || rank(one) - rank(other))
      .forEach((one) => {
        if (!seen.has(one.version) && !told.has(one.verdict)) told.set(one.verdict, one);
        seen.add(one.version);
      });
    return [...told.values()];
  }

  function question(state) {
    const asks = { ...state, gpu: null, branch: null, problems: [] };
    if (state.gpu) {
      const found = findGpu(state.gpu);
      if (found && found.capability) asks.gpu = found;
      else if (found) asks.problems.push(`“${state.gpu}” is the name of several GPUs: ${found.several.join(", ")}. Choose one.`);
      else asks.problems.push(`The page does not know a GPU “${state.gpu}”. Choose one from the list, or give its compute capability, such as 8.9.`);
    }
    if (asks.gpu && asks.gpu.arch && !state.arch) asks.arch = asks.gpu.arch;
    if (state.driver) asks.branch = branch(state.driver);
    if (state.driver && !asks.branch) asks.problems.push(`“${state.driver}” is no NVIDIA driver version. nvidia-smi shows it, such as 570.86.10.`);
    return asks;
  }

  const because = (cell) => [cell.kind, cell.cause].filter(Boolean).join(": ");
  const WORDS = { version: "the version", python: "the Python", os: "the OS", arch: "the architecture", gpu: "the GPU", branch: "the driver" };
  function without(asks) {
    const named = ["version", "python", "os", "gpu", "branch", "arch"].filter((name) => asks[name]);
    for (let size = 1; size <= named.length; size += 1) {
      const found = [];
      const choose = (start, dropped) => {
        if (dropped.length === size) {
          const cell = best({ ...asks, ...Object.fromEntries(dropped.map((name) => [name, name === "arch" ? "any" : null])) });
          if (cell) found.push([dropped, cell]);
          return;
        }
        for (let place = start; place < named.length; place += 1) choose(place + 1, [...dropped, named[place]]);
      };
      choose(0, []);
      if (found.length) return found;
    }
    return [];
  }

  // --- making elements ----------------------------------------------------------------------

  function make(tag, given, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(given || {})) {
      if (name === "onclick") element.addEventListener("click", value);
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== ""));
    return element;
  }
  const chip = (cell) => make("span", { class: "chip " + cell.verdict }, `${MARKS[cell.verdict]} ${said(cell)}`);
  function command(label, text) {
    const copied = make("button", { type: "button" }, "Copy");
    copied.setAttribute("aria-label", "Copy: " + label);
    copied.addEventListener("click", () => {
      const done = () => { copied.textContent = "Copied"; setTimeout(() => { copied.textContent = "Copy"; }, 1500); };
      if (navigator.clipboard && window.isSecureContext) navigator.clipboard.writeText(text).then(done, () => select());
      else select();
      function select() {
        const range = document.createRange();
        range.selectNodeContents(code);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        try { if (document.execCommand("copy")) done(); } catch { /* It is selected, at least. */ }
      }
    });
    const code = make("pre", { tabindex: "0" }, text);
    return make("div", { class: "command" }, make("span", {}, label), code, copied);
  }
  const link = (cell, text) => cell.run
    ? make("a", { href: `cells/${encodeURIComponent(cell.id)}.html`, class: "id" }, text || cell.id)
    : make("a", { href: "#" + new URLSearchParams({ ...stated(), cell: cell.id }), class: "id" }, text || cell.id);
  const sized = (bytes) => `${(bytes / 1e9).toFixed(1)} GB`;

  function limits(asks, cell) {
    const found = [];
    if (cell.verdict === "partial") found.push(cell.cause);
    if (cell.run.emulated) found.push("It ran on a processor of another architecture, by emulation. No time of it means anything.");
    if (asks.gpu) {
      found.push(served(cell, asks.gpu.capability) === "code"
        ? `The build holds machine code for ${asks.gpu.spoken}. That is read from the build; it was not run on that GPU.`
        : `The build serves ${asks.gpu.spoken} by PTX only, which the driver compiles.`);
    }
    if (isCuda(cell) && !asks.gpu && !asks.branch) found.push("It is a CUDA build, and no CPU build that was run fits. It ran on a CPU: without an NVIDIA GPU leave out --gpus all.");
    if (isCuda(cell)) found.push(`${cell.accelerator} needs NVIDIA driver ${driverNeeded(cell, asks.gpu)} or newer here, by NVIDIA's rules.`);
    return found;
  }

  function renderAnswer(state) {
    const asks = question(state), place = $("answer");
    asks.problems.unshift(...unknown);
    const cell = asks.problems.length ? null : best(asks);
    place.replaceChildren();
    if (asks.problems.length) {
      asks.problems.forEach((text) => place.append(make("p", { class: "sentence" }, text)));
      return;
    }
    if (cell) {
      const verb = cell.verdict === "works" ? "works" : "works in part";
      const with_ = isCuda(cell) ? `with CUDA ${data.cuda[cell.accelerator]}` : "on the CPU";
      const sentence = make("p", { class: "sentence" }, chip(cell),
        ` ${titled(cell.framework)} ${cell.version} ${verb} on Python ${cell.python}, ${cell.os}${cell.arch === data.plain_arch ? "" : " " + cell.arch}, ${with_}.`);
      place.append(sentence);
      const seen = `${cell.run.probes} probes passed in the built image on ${cell.run.day}. The image has ${sized(cell.run.size)}${cell.run.rebuilt ? " and was rebuilt from nothing, the same in every layer" : ""}. `;
      place.append(make("p", {}, seen, make("a", { href: `cells/${encodeURIComponent(cell.id)}.html` }, "Everything that was observed"), "."));
      const list = limits(asks, cell);
      if (list.length) place.append(make("ul", { class: "limits" }, ...list.map((text) => make("li", {}, text))));
      if (cell.run.pull) place.append(command("Start the published image", cell.run.pull));
      if (cell.run.run) place.append(command("Build this image from its lock, and start it (envmatrix comes with a checkout of this project: pip install .)", `envmatrix build ${cell.id}\n${cell.run.run}`));
      for (const [words, line] of cell.run.install || []) place.append(command(words, line));
      const others = state.version ? [] : newer(asks, cell);
      if (others.length) place.append(make("ul", { class: "limits small" }, ...others.map((one) => make("li", {}, "Newer: ", link(one, `${one.version}`), ` is ${said(one)}`, because(one) ? `: ${hindrance(asks, one) || because(one)}` : ""))));
      return;
    }
    const failed = cells.filter((one) => asked(asks, one) && one.run && one.verdict === "broken").sort(order(asks))[0];
    if (failed) {
      place.append(make("p", { class: "sentence" }, chip(failed), ` ${titled(failed.framework)} ${failed.version} is broken on Python ${failed.python}, ${failed.os}.`));
      place.append(make("p", {}, because(failed), failed.known ? `. ${failed.known}` : "", ". ", make("a", { href: `cells/${encodeURIComponent(failed.id)}.html` }, "Everything that was observed"), "."));
    } else place.append(make("p", { class: "sentence" }, make("span", { class: "chip unknown" }, "? no proof"), " No image with these values was built and passed its probes."));
    const matching = cells.filter((one) => asked(asks, one));
    const counts = VERDICTS.map((verdict) => [verdict, matching.filter((one) => one.verdict === verdict)]).filter(([, found]) => found.length);
    if (counts.length) {
      place.append(make("p", {}, `${matching.length.toLocaleString("en")} cells have these values${asks.gpu || asks.branch ? " before GPU and driver are looked at" : ""}. Why they are no answer:`));
      place.append(make("ul", {}, ...counts.map(([verdict, found]) => {
        const reasons = [...new Set(found.map((one) => hindrance(asks, one)).filter(Boolean))];
        const more = reasons.length - 1;
        return make("li", {}, make("span", { class: "mark " + verdict }, `${MARKS[verdict]} ${found.length} ${verdict}`), reasons.length ? `: ${reasons[0]}${more ? `, and ${more} other reason${more > 1 ? "s" : ""}` : ""}` : "");
      })));
    } else place.append(make("p", {}, "The matrix declares no such combination."));
    const ways = without(asks).slice(0, 4);
    if (ways.length) {
      place.append(make("p", {}, "The nearest that is proven:"));
      place.append(make("ul", {}, ...ways.map(([dropped, found]) =>
        make("li", {}, `Change ${dropped.map((name) => WORDS[name]).join(" and ")}: `, chip(found), " ", link(found)))));
    }
  }

  // --- the grid -----------------------------------------------------------------------------

  const inView = (state, cell) =>
    (!state.gos || cell.os === state.gos) && (!state.gacc || cell.accelerator === state.gacc || (state.gacc === "cuda" && isCuda(cell))) &&
    (!state.garch || cell.arch === state.garch);
  const shown = (state, cell) => inView(state, cell) && (!state.gverdict || cell.verdict === state.gverdict);
  const groupOf = (cell) => (cell.framework.includes("+") ? `${cell.family}+` : cell.family);
  const grouping = new Map();
  cells.forEach((cell) => {
    const group = groupOf(cell);
    if (!grouping.has(group)) grouping.set(group, []);
    grouping.get(group).push(cell);
  });
  const bestOf = (found) => found.reduce((one, other) => (rank(other) < rank(one) ? other : one));
  const kindOf = (found, verdict) => {
    const kinds = new Set(found.filter((cell) => cell.verdict === verdict).map((cell) => cell.kind));
    return verdict === "unknown" && kinds.size === 1 && kinds.has("stale") ? "stale" : verdict;
  };
  const counted = (found) => VERDICTS.map((verdict) => [verdict, found.filter((cell) => cell.verdict === verdict).length])
    .filter(([, number]) => number).map(([verdict, number]) => `${number} ${verdict}`).join(", ");

  function table(caption, columns, rows, note) {
    const head = make("tr", {}, make("th", { scope: "col" }, rows.heading), ...columns.map((name) => make("th", { scope: "col" }, name)));
    const body = rows.map(([name, fields]) => make("tr", {}, make("th", { scope: "row" }, name), ...fields));
    const element = make("table", { class: "grid" }, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
    element.addEventListener("keydown", move);
    return make("div", { class: "scroll tall", role: "region", "aria-label": caption, tabindex: "0" }, element, note || "");
  }
  function move(event) {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const field = event.target.closest("td");
    if (!step || !field) return;
    let row = field.parentElement, column = field.cellIndex;
    for (let tries = 0; tries < 40; tries += 1) {
      if (step[0]) row = step[0] < 0 ? row.previousElementSibling : row.nextElementSibling;
      column += step[1];
      const target = row && row.cells[column];
      if (!target || !target.querySelector) return;
      const button = target.querySelector("button");
      if (button) { event.preventDefault(); button.focus(); return; }
    }
  }
  function gridButton(state, found, all, what, key, value) {
    if (!found.length) return make("td", { class: "none" }, make("span", { "aria-hidden": "true" }, "·"), make("span", { class: "visually-hidden" }, all ? "none with this verdict" : "not declared"));
    const first = bestOf(found), verdict = first.verdict;
    const word = kindOf(found, verdict) + (ran(first) && first.run.emulated ? ", emulated" : "");
    const button = make("button", {
      type: "button", class: verdict, "aria-pressed": state[key] === value ? "true" : "false",
      "aria-label": `${what}: ${word}. ${found.length} of ${all} cells: ${counted(found)}`,
      onclick: () => {
        change({ [key]: state[key] === value ? "" : value, cell: "" }, true);
        requestAnimationFrame(() => { const opened = $("chosen"); if (opened) opened.parentElement.scrollIntoView({ block: "nearest" }); });
      },
    }, make("span", { class: "mark" }, `${MARKS[verdict]} ${word}`),
    make("small", {}, all === 1 ? found[0].os : `${found.filter((cell) => cell.verdict === verdict).length} of ${all} cells`));
    return make("td", {}, button);
  }
  function renderGrid(state) {
    const place = $("grid"), parts = [];
    for (const [group, all] of grouping) {
      const found = all.filter((cell) => shown(state, cell));
      if (!found.length) continue;
      const stacks = group.endsWith("+");
      const pythons = data.axes.python.filter((name) => found.some((cell) => cell.python === name));
      const names = [...new Set(found.map((cell) => `${cell.framework} ${cell.version}`))];
      const at = new Map();
      found.forEach((cell) => {
        const key = `${cell.framework} ${cell.version}|${cell.python}`;
        if (!at.has(key)) at.set(key, []);
        at.get(key).push(cell);
      });
      const counts = new Map();
      all.filter((cell) => inView(state, cell)).forEach((cell) => {
        const key = `${cell.framework} ${cell.version}|${cell.python}`;
        counts.set(key, (counts.get(key) || 0) + 1);
      });
      if (!stacks) names.reverse();
      const rows = names.map((name) => [stacks ? `${titled(name.split(" ")[0])} on ${name.split("+")[0]} ${name.split(" ")[1]}` : name.split(" ")[1], pythons.map((python) => {
        const key = `${name}|${python}`;
        return gridButton(state, at.get(key) || [], counts.get(key) || 0, `${name} on Python ${python}`, "at", key);
      })]);
      rows.heading = stacks ? "Stack" : "Release";
      const title = titled(group.replace("+", ""));
      parts.push(table(stacks ? `Libraries on ${title}, by Python` : `${title}: release by Python`, pythons.map((python) => `Python ${python}`), rows));
      const chosen = state.at && found.filter((cell) => state.at === `${cell.framework} ${cell.version}|${cell.python}`);
      if (chosen && chosen.length) parts.push(listing(state, chosen, state.at.replace("|", " on Python ")));
    }
    place.replaceChildren(...(parts.length ? parts : [make("p", {}, "No cell has these values. Take a filter away.")]));
  }
  function renderNewest(state) {
    const parts = [];
    for (const [group, all] of grouping) {
      if (group.endsWith("+")) continue;
      const found = all.filter((cell) => shown(state, cell));
      const columns = data.axes.os.filter((name) => found.some((cell) => cell.os === name));
      const rows = [];
      data.axes.python.forEach((python) => {
        ["CPU", "CUDA"].forEach((kind) => {
          const row = found.filter((cell) => cell.python === python && isCuda(cell) === (kind === "CUDA"));
          if (!row.length) return;
          rows.push([`Python ${python}, ${kind}`, columns.map((os) => {
            const here = row.filter((cell) => cell.os === os);
            const usable = here.filter((cell) => cell.run && (cell.verdict === "works" || cell.verdict === "partial"))
              .sort((one, other) => other.at[1] - one.at[1] || VERDICTS.indexOf(one.verdict) - VERDICTS.indexOf(other.verdict))[0];
            if (!usable) {
              if (!here.length) return make("td", { class: "none" }, "·");
              const { verdict } = bestOf(here);
              return make("td", { class: "mark " + verdict }, `${MARKS[verdict]} ${kindOf(here, verdict)}`);
            }
            return make("td", {}, make("button", {
              type: "button", class: usable.verdict, "aria-label": `${usable.version} is ${said(usable)} on Python ${python}, ${os}, ${usable.accelerator}`,
              onclick: () => { location.href = `cells/${encodeURIComponent(usable.id)}.html`; },
            }, make("span", { class: "mark" }, `${MARKS[usable.verdict]} ${usable.version}`), make("small", {}, `${said(usable)}, ${usable.accelerator}`)));
          })]);
        });
      });
      if (!rows.length) continue;
      rows.heading = "Python and accelerator";
      parts.push(table(`${titled(group)}: newest release that was run and works, or works in part`, columns, rows));
    }
    $("grid").replaceChildren(...(parts.length ? parts : [make("p", {}, "No cell has these values. Take a filter away.")]));
  }

  function nearest(cell) {
    const changed = (other) => AXES.filter((_, number) => number && cell.at[number] !== other.at[number]).length;
    const far = (other) => AXES.reduce((sum, _, number) => sum + (number ? Math.abs(cell.at[number] - other.at[number]) : 0), 0);
    return proven.filter((other) => other.framework === cell.framework && other !== cell)
      .sort((one, other) => changed(one) - changed(other) || far(one) - far(other) || (one.id < other.id ? -1 : 1))[0] || null;
  }
  function listing(state, found, title) {
    const rows = [...found].sort((one, other) => VERDICTS.indexOf(one.verdict) - VERDICTS.indexOf(other.verdict) || one.place - other.place).map((cell) => {
      const near = cell.run ? null : nearest(cell);
      const compared = (state.compare || "").split(" ").filter(Boolean);
      const box = cell.run ? make("button", {
        type: "button", "aria-pressed": compared.includes(cell.id) ? "true" : "false", "aria-label": `Compare ${cell.id}`,
        onclick: () => { change({ compare: (compared.includes(cell.id) ? compared.filter((one) => one !== cell.id) : [...compared, cell.id].slice(-2)).join(" ") }, true); },
      }, compared.includes(cell.id) ? "Compared" : "Compare") : "";
      return make("tr", { class: state.cell === cell.id ? "chosen" : null },
        make("td", {}, chip(cell)), make("td", {}, cell.os), make("td", {}, cell.accelerator), make("td", {}, cell.arch),
        make("td", {}, link(cell)), make("td", {}, because(cell), cell.known ? make("span", { class: "quiet" }, `. ${cell.known}`) : "", near ? make("span", { class: "quiet" }, `${because(cell) ? ". " : ""}Nearest with evidence: `, link(near)) : ""), make("td", { class: "no-print" }, box));
    });
    return make("section", { class: "box", "aria-label": title }, make("h3", { id: "chosen", tabindex: "-1" }, title),
      make("div", { class: "scroll", role: "region", "aria-label": `Cells: ${title}`, tabindex: "0" }, make("table", {}, make("thead", {}, make("tr", {}, ...["Verdict", "OS", "Accelerator", "Architecture", "Cell", "Why"].map((name) => make("th", { scope: "col" }, name)), make("td", { class: "no-print" }))), make("tbody", {}, ...rows))));
  }
  function renderCompare(state) {
    const chosen = (state.compare || "").split(" ").map((id) => byId.get(id)).filter((cell) => cell && cell.run);
    const place = $("compare");
    place.hidden = !chosen.length;
    place.replaceChildren();
    if (!chosen.length) return;
    place.append(make("h2", {}, "Side by side"));
    if (chosen.length === 1) { place.append(make("p", {}, `${chosen[0].id} is chosen. Choose a second cell with “Compare”.`)); return; }
    const facts = (cell) => [
      ["verdict", `${MARKS[cell.verdict]} ${said(cell)}`], ["why", because(cell)], ["Python", cell.python], ["OS", cell.os], ["accelerator", cell.accelerator], ["architecture", cell.arch],
      ["image", sized(cell.run.size)], ["probes passed", cell.run.probes], ["run on", cell.run.day], ["rebuilt", cell.run.rebuilt ? "the same" : "not checked"], ...Object.entries(cell.run.observed || {}),
      ...Object.entries(cell.run.outcomes || {}),
    ];
    const [left, right] = chosen.map((cell) => new Map(facts(cell)));
    const rows = [...new Set([...left.keys(), ...right.keys()])].map((name) => {
      const [one, other] = [left.get(name) || "", right.get(name) || ""];
      return make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, String(one)), make("td", {}, String(other)), make("td", {}, String(one) === String(other) ? "" : "differs"));
    });
    place.append(make("div", { class: "scroll", role: "region", "aria-label": "Two cells side by side", tabindex: "0" }, make("table", {}, make("thead", {}, make("tr", {}, make("td", {}), ...chosen.map((cell) => make("th", { scope: "col" }, link(cell))), make("td", {}))), make("tbody", {}, ...rows))));
    place.append(make("button", { type: "button", onclick: () => change({ compare: "" }, true) }, "End the comparison"));
  }
  function renderCell(state) {
    const place = $("cell"), cell = byId.get(state.cell);
    place.hidden = !state.cell;
    place.replaceChildren();
    if (!state.cell) return;
    if (!cell) { place.append(make("h2", {}, "Cell"), make("p", {}, `The matrix has no cell “${state.cell}”.`)); return; }
    place.append(make("h2", { id: "cell-name", tabindex: "-1" }, chip(cell), " ", make("span", { class: "id" }, cell.id)));
    if (because(cell)) place.append(make("p", {}, because(cell)));
    if (cell.known) place.append(make("p", {}, cell.known));
    if (cell.remedy) place.append(make("p", {}, "What to do: ", cell.remedy));
    if (cell.run) place.append(make("p", {}, link(cell, "Everything that was observed")));
    else {
      place.append(command("Find out", `envmatrix run ${cell.id}`));
      const near = nearest(cell);
      if (near) place.append(make("p", {}, "Nearest with evidence: ", chip(near), " ", link(near)));
    }
  }

  // --- the state, which is in the address ---------------------------------------------------

  const FIELDS = ["framework", "version", "python", "os", "arch", "gpu", "driver", "gos", "gacc", "garch", "gverdict", "view"];
  const HELD = [...FIELDS, "at", "cell", "compare"];
  const ALLOWED = {
    framework: ["framework", data.axes.framework], version: ["version", data.axes.version], python: ["Python", data.axes.python],
    os: ["operating system", data.axes.os], arch: ["architecture", [...data.axes.arch, "any"]],
    gos: ["operating system", data.axes.os], gacc: ["accelerator", ["cuda", ...data.axes.accelerator]], garch: ["architecture", data.axes.arch],
    gverdict: ["verdict", VERDICTS], view: ["view", ["newest"]],
  };
  let current = {};
  let unknown = [];
  const stated = () => Object.fromEntries(HELD.filter((name) => current[name] && !(name === "framework" && current[name] === data.axes.framework[0])).map((name) => [name, current[name]]));
  function change(given, push) {
    current = { ...current, ...given };
    unknown = [];
    const hash = "#" + new URLSearchParams(stated());
    if (push) location.hash = hash; else history.replaceState(null, "", hash);
    if (push && location.hash === hash) render();
    else if (!push) render();
  }
  function read() {
    const found = new URLSearchParams(location.hash.slice(1));
    current = Object.fromEntries(HELD.map((name) => [name, (found.get(name) || "").slice(0, 300)]));
    if (!data.axes.framework.includes(current.framework)) current.framework = data.axes.framework[0];
    unknown = [];
    for (const [axis, [name, values]] of Object.entries(ALLOWED)) {
      const given = (found.get(axis) || "").slice(0, 80);
      if (given && !values.includes(given)) {
        unknown.push(`The matrix has no ${name} “${given}”, which the address asks for.`);
        if (axis !== "framework") current[axis] = "";
      }
    }
  }
  function options(select, values, first, value) {
    select.replaceChildren(...(first ? [make("option", { value: "" }, first)] : []), ...values.map(([name, text]) => make("option", { value: name }, text)));
    select.value = value;
  }
  function fill(state) {
    const own = cells.filter((cell) => cell.framework === state.framework);
    const has = (axis) => data.axes[axis].filter((name) => own.some((cell) => cell[axis] === name));
    options($("framework"), data.axes.framework.map((name) => [name, titled(name) + (name.includes("+") ? ` on ${titled(name.split("+")[0])}` : "")]), null, state.framework);
    options($("version"), has("version").reverse().map((name) => [name, name]), "newest that works", state.version);
    options($("python"), has("python").reverse().map((name) => [name, name]), "any", state.python);
    options($("os"), has("os").map((name) => [name, name]), "any", state.os);
    options($("arch"), [...has("arch").filter((name) => name !== data.plain_arch).map((name) => [name, name]), ["any", "any"]], data.plain_arch, state.arch);
    for (const name of ["gpu", "driver"]) if ($(name) !== document.activeElement) $(name).value = state[name];
    options($("gos"), data.axes.os.map((name) => [name, name]), "any", state.gos);
    options($("gacc"), [["cuda", "any CUDA"], ...data.axes.accelerator.map((name) => [name, name])], "any", state.gacc);
    options($("garch"), data.axes.arch.map((name) => [name, name]), "any", state.garch);
    options($("gverdict"), VERDICTS.map((name) => [name, `${MARKS[name]} ${name}`]), "any", state.gverdict);
    document.querySelectorAll("[data-view]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.view === (state.view || "grid"))));
  }
  function render() {
    const started = performance.now();
    const focused = document.activeElement && document.activeElement.getAttribute("aria-label");
    fill(current);
    renderAnswer(current);
    (current.view === "newest" ? renderNewest : renderGrid)(current);
    renderCell(current);
    renderCompare(current);
    if (focused && document.activeElement === document.body) {
      const again = [...document.querySelectorAll("#grid [aria-label], #compare [aria-label]")].find((one) => one.getAttribute("aria-label") === focused);
      if (again) again.focus({ preventScroll: true });
    }
    performance.measure("render", { start: started, end: performance.now() });
  }
  ["framework", "version", "python", "os", "arch", "gos", "gacc", "garch", "gverdict"].forEach((name) => {
    $(name).addEventListener("change", () => change({ [name]: $(name).value }, true));
  });
  // While somebody types, only what is understood is answered: a screen reader reads each answer.
  const understood = { gpu: (text) => !text || (findGpu(text) || {}).capability, driver: (text) => !text || branch(text) };
  ["gpu", "driver"].forEach((name) => {
    $(name).addEventListener("input", () => { if (understood[name]($(name).value)) change({ [name]: $(name).value }, false); });
    $(name).addEventListener("change", () => change({ [name]: $(name).value }, false));
  });
  document.querySelectorAll("[data-view]").forEach((button) => button.addEventListener("click", () => change({ view: button.dataset.view === "grid" ? "" : button.dataset.view }, true)));
  $("reset").addEventListener("click", () => {
    change({ ...Object.fromEntries(HELD.map((name) => [name, ""])), framework: data.axes.framework[0] }, true);
  });
  $("question").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", () => { read(); render(); if (current.cell) { const name = $("cell-name"); if (name) { name.scrollIntoView(); name.focus({ preventScroll: true }); } } });
  options($("gpus"), data.gpu_names.map((name) => [name, ""]), null, "");
  read();
  render();
  document.documentElement.dataset.ready = "yes";
  // What the tests of the page compare with the rules in Python.
  window.envmatrix = { 
    findGpu,
    answer: (given) => {
      const asks = question({ framework: data.axes.framework[0], ...given });
      const cell = asks.problems.length ? null : best(asks);
      return cell ? cell.id : null;
    },
  };
})();
