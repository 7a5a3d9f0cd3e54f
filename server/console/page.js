// SPDX-License-Identifier: Apache-2.0
// Everything shown comes from images and clients that nobody vouches for: it is set as text, never as HTML.
"use strict";
(() => {
  const kPollMs = 2000;
  const kCatalogPollMs = 10000;
  const kRowsShown = 50;
  const kConnectionsShown = 10;
  const kPackagesShown = 500;
  const kGraphPoints = 60;
  const kGraphWidth = 600;
  const kGraphHeight = 90;

  const byId = (id) => document.getElementById(id);
  const put = (id, text) => { const at = byId(id); if (at.textContent !== text) at.textContent = text; };

  const make = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  // ---- numbers as people read them ----

  const bytes = (count) => {
    if (count === undefined || count === null) return "–";
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = 0;
    while (count >= 1024 && unit + 1 < units.length) { count /= 1024; ++unit; }
    return (unit === 0 ? String(count) : count.toFixed(count < 10 ? 2 : 1)) + " " + units[unit];
  };
  const number = (count) => (count === undefined ? "–" : count.toLocaleString("en-US"));
  const plural = (count, word) => number(count) + " " + word + (count === 1 ? "" : "s");
  const duration = (seconds) => {
    for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (seconds >= 2 * size) return Math.floor(seconds / size) + " " + name;
    }
    return Math.floor(seconds) + " s";
  };
  const date = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");

  // ---- what was fetched ----

  const state = {
    images: [], complete: false, etag: null, catalogAt: 0, query: "", sort: "reference", down: false, page: 0,
    sent: new Map(), rates: [], before: null, connectionsBefore: new Map(),
  };

  const ask = async (path) => {
    const answer = await fetch(path, { cache: "no-cache", headers: { Accept: "application/json" } });
    if (!answer.ok) throw Object.assign(new Error(path + ": " + answer.status), { status: answer.status });
    return answer;
  };
  /// null where this client may not see it.
  const askIfAllowed = async (path) => {
    try {
      return await (await ask(path)).json();
    } catch (error) {
      if (error.status === 403 || error.status === 404) return null;
      throw error;
    }
  };

  // ---- the server ----

  const showStatus = (status) => {
    byId("figures").hidden = byId("traffic").hidden = status === null;
    if (status === null) return;
    const { repository, connections, traffic, cache } = status;
    put("where", repository.location);
    put("about", "vmserve " + status.version + ", up for " + duration(status.seconds));
    put("f-references", number(repository.references));
    put("f-snapshots", "to " + plural(repository.snapshots, "snapshot"));
    put("f-images", bytes(repository.image_bytes));
    put("f-data", bytes(repository.data_bytes) + " of data");
    put("f-stored", bytes(repository.stored_bytes));
    const saved = repository.data_bytes - repository.stored_bytes;
    put("f-saved", saved > 0 && repository.stored_bytes > 0
      ? bytes(saved) + " saved, " + (repository.data_bytes / repository.stored_bytes).toFixed(1) + " times less" : "");
    put("f-connections", number(connections.nbd + connections.http));
    put("f-protocols", connections.nbd + " NBD, " + connections.http + " HTTP");
    const asked = cache.hits + cache.misses;
    put("f-hits", asked > 0 ? (100 * cache.hits / asked).toFixed(1) + " % hits" : "no reads yet");
    put("f-cache", bytes(cache.bytes) + " of " + bytes(cache.bytes_max));
    byId("f-cache-bar").style.setProperty("width", (100 * cache.bytes / Math.max(1, cache.bytes_max)).toFixed(1) + "%");
    const sent = traffic.nbd.bytes + traffic.http.bytes;
    put("f-sent", bytes(sent));
    put("f-requests", "in " + plural(traffic.nbd.requests + traffic.http.requests, "request"));
    const failures = traffic.nbd.failures + traffic.http.failures;
    byId("damage").hidden = status.damage === 0 && failures === 0;
    put("damage", status.damage > 0
      ? plural(status.damage, "read") + " met damaged stored bytes: the server's log names the files; run 'vmpack verify'."
      : plural(failures, "request") + " failed: the server's log says why.");
    showRate(sent);
    state.sent = new Map(status.references.map((row) => [row.reference, row.bytes]));
  };

  const showRate = (sent) => {
    const now = performance.now();
    if (state.before !== null && now > state.before.at) {
      state.rates.push(Math.max(0, sent - state.before.sent) * 1000 / (now - state.before.at));
      if (state.rates.length > kGraphPoints) state.rates.shift();
    }
    state.before = { at: now, sent };
    const last = state.rates.length > 0 ? state.rates[state.rates.length - 1] : 0;
    const top = Math.max(1, ...state.rates);
    put("rate", bytes(Math.round(last)) + "/s now, " + bytes(Math.round(state.rates.length > 0 ? top : 0)) + "/s at most");
    const x = (i) => kGraphWidth - (state.rates.length - 1 - i) * kGraphWidth / (kGraphPoints - 1);
    const y = (rate) => kGraphHeight - 2 - rate / top * (kGraphHeight - 8);
    const points = state.rates.map((rate, i) => x(i).toFixed(1) + " " + y(rate).toFixed(1));
    const line = points.length > 1 ? "M" + points.join("L") : "";
    byId("graph-line").setAttribute("d", line);
    byId("graph-area").setAttribute("d", line && line + "L" + kGraphWidth + " " + kGraphHeight + "L" + x(0).toFixed(1) + " " + kGraphHeight + "Z");
  };

  const identity = (row) => {
    for (const kind of ["certificate", "psk", "token"]) if (row[kind]) return kind + " " + row[kind];
    return "";
  };

  const showConnections = (answer) => {
    const now = performance.now();
    const before = state.connectionsBefore;
    state.connectionsBefore = new Map();
    const rows = (answer === null ? [] : answer.connections).map((row) => {
      const key = row.protocol + " " + row.peer;
      const old = before.get(key);
      const began = now - row.seconds * 1000;
      const same = old !== undefined && row.bytes >= old.bytes && began < old.at;
      state.connectionsBefore.set(key, { at: now, bytes: row.bytes });
      return { ...row, rate: same ? (row.bytes - old.bytes) * 1000 / (now - old.at) : 0 };
    }).filter((row) => row.reference !== "");
    rows.sort((a, b) => b.rate - a.rate || b.bytes - a.bytes || a.peer.localeCompare(b.peer));
    const body = document.createDocumentFragment();
    for (const row of rows.slice(0, kConnectionsShown)) {
      const line = make("tr");
      const who = identity(row);
      const client = make("td", who || row.peer);
      if (who) client.append(make("small", row.peer));
      line.append(client, make("td", row.reference), make("td", row.protocol.toUpperCase(), "wide"),
        make("td", bytes(Math.round(row.rate)) + "/s", "number"), make("td", bytes(row.bytes), "number wide"),
        make("td", number(row.requests), "number wide"), make("td", duration(row.seconds), "number wide"));
      body.append(line);
    }
    if (rows.length === 0) {
      const line = make("tr");
      const cell = make("td", "nobody reads an image now", "empty");
      cell.colSpan = 7;
      line.append(cell);
      body.append(line);
    }
    byId("connections").tBodies[0].replaceChildren(body);
    const more = rows.length - kConnectionsShown;
    put("connections-more", more > 0 ? "and " + plural(more, "other connection") : "");
  };

  // ---- images ----

  const matches = (row) => state.query.split(/\s+/).every((word) =>
    row.reference.toLowerCase().includes(word) || row.snapshot.startsWith(word) || (row.os || "").toLowerCase().includes(word));

  const valueOf = (row) => (state.sort === "sent" ? state.sent.get(row.reference) || 0 : row[state.sort]);

  const compare = (a, b) => {
    const [x, y] = [valueOf(a), valueOf(b)];
    const missing = (x === undefined) - (y === undefined);
    if (missing !== 0) return missing;
    const order = x === undefined ? 0 : typeof x === "string" ? (x < y ? -1 : x > y ? 1 : 0) : x - y;
    return (state.down ? -order : order) || (a.reference < b.reference ? -1 : 1);
  };

  const imageRow = (row) => {
    const line = make("tr");
    const name = make("td");
    const button = make("button", row.reference);
    button.type = "button";
    name.append(button, make("small", row.snapshot.slice(0, 16)));
    const size = row.damaged ? "damaged" : bytes(row.image_bytes);
    line.append(name, make("td", row.os || "–", "wide"), make("td", number(row.packages), "number wide"),
      make("td", size, "number"), make("td", bytes(row.data_bytes), "number wide"),
      make("td", bytes(row.stored_bytes), "number wide"),
      make("td", bytes(state.sent.get(row.reference) || 0), "number"), make("td", date(row.time), "number"));
    line.addEventListener("click", () => showDetail(row));
    return line;
  };

  const showImages = () => {
    const found = state.query === "" ? [...state.images] : state.images.filter(matches);
    found.sort(compare);
    const pages = Math.max(1, Math.ceil(found.length / kRowsShown));
    state.page = Math.min(state.page, pages - 1);
    const first = state.page * kRowsShown;
    const rows = found.slice(first, first + kRowsShown);
    const focused = document.activeElement && document.activeElement.closest("#images tbody")
      ? document.activeElement.textContent : null;
    const body = byId("images").tBodies[0];
    body.replaceChildren(...rows.map(imageRow));
    if (focused !== null) {
      for (const button of body.querySelectorAll("button")) if (button.textContent === focused) button.focus();
    }
    const range = rows.length === 0 ? "none" : number(first + 1) + " to " + number(first + rows.length);
    const of = found.length === state.images.length ? "" : ", of " + number(state.images.length) + " in all";
    put("shown", range + " of " + number(found.length) + of + (state.complete ? "" : ", still loading"));
    byId("before").disabled = state.page === 0;
    byId("after").disabled = state.page + 1 >= pages;
    for (const button of document.querySelectorAll("#images [data-sort]")) {
      const cell = button.parentElement;
      if (button.dataset.sort === state.sort) {
        cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      } else {
        cell.removeAttribute("aria-sort");
      }
    }
  };

  const loadCatalog = async () => {
    const now = performance.now();
    if (state.complete && now - state.catalogAt < kCatalogPollMs) return;
    state.catalogAt = now;
    const answer = await ask("/catalog.json");
    const etag = answer.headers.get("ETag");
    if (etag !== null && etag === state.etag) return;
    const catalog = await answer.json();
    state.etag = etag;
    state.images = catalog.references;
    state.complete = catalog.complete;
  };

  // ---- one image ----

  const facts = (pairs) => {
    const list = make("dl", undefined, "facts");
    for (const [name, value] of pairs) if (value) list.append(make("dt", name), make("dd", value));
    return list;
  };

  const volumesTable = (volumes) => {
    const table = make("table");
    const head = make("tr");
    for (const [name, kind] of [["Volume"], ["Type"], ["Size", "number"], ["Files", "number"], ["Free", "number"]]) {
      head.append(make("th", name, kind));
    }
    table.append(make("thead"), make("tbody"));
    table.tHead.append(head);
    for (const volume of volumes) {
      const row = make("tr");
      row.append(make("td", volume.name || volume.label || String(volume.number)), make("td", volume.type || "–"),
        make("td", bytes(volume.bytes), "number"), make("td", number(volume.file_count), "number"),
        make("td", bytes(volume.free_bytes), "number"));
      table.tBodies[0].append(row);
    }
    return table;
  };

  const packagesOf = (systems) => {
    const packages = systems.flatMap((system) => system.packages);
    const box = make("div");
    const field = make("input");
    field.type = "search";
    field.placeholder = "Search " + plural(packages.length, "package");
    field.setAttribute("aria-label", field.placeholder);
    const list = make("ul", undefined, "packages");
    const more = make("p", undefined, "soft");
    const show = () => {
      const query = field.value.trim().toLowerCase();
      const found = packages.filter((one) => one.name.toLowerCase().includes(query));
      list.replaceChildren(...found.slice(0, kPackagesShown).map((one) => {
        const item = make("li", one.name + " ");
        item.append(make("span", one.version, "soft"));
        return item;
      }));
      more.textContent = found.length > kPackagesShown ? "and " + plural(found.length - kPackagesShown, "other") : "";
    };
    field.addEventListener("input", show);
    show();
    box.append(make("h3", "Packages"), field, list, more);
    return box;
  };

  const fixedName = (row) => row.reference.split(":")[0] + "@" + row.snapshot.slice(0, 16);

  const fillDetail = (row, entry) => {
    const { manifest, os } = entry;
    const body = byId("d-body");
    const systems = os || [];
    const list = [["Size", bytes(row.image_bytes)], ["Data", bytes(row.data_bytes)],
      ["Added", row.stored_bytes === undefined ? "" : bytes(row.stored_bytes) + " to the repository"],
      ["Sent", bytes(state.sent.get(row.reference) || 0)], ["Created", date(row.time) + " UTC"]];
    for (const system of systems) list.unshift(["System", [system.product_name, system.architecture, system.hostname].filter(Boolean).join(", ")]);
    for (const [key, value] of Object.entries(manifest.labels || {})) list.push([key, value]);
    body.replaceChildren(facts(list), make("h3", "Get it"),
      make("code", "curl -C - -o image.raw " + location.origin + "/images/" + fixedName(row), "command"));
    const volumes = manifest.layout.volumes;
    if (volumes.length > 0) body.append(make("h3", "Volumes"), volumesTable(volumes));
    if (systems.some((system) => system.packages.length > 0)) body.append(packagesOf(systems));
  };

  const showDetail = async (row) => {
    put("d-title", row.reference);
    put("d-digest", row.snapshot);
    byId("d-body").replaceChildren(make("p", "loading", "soft"));
    const dialog = byId("detail");
    if (!dialog.open) dialog.showModal();
    try {
      const entry = await (await ask("/catalog/" + encodeURIComponent(row.reference) + ".json")).json();
      if (dialog.open && byId("d-title").textContent === row.reference) fillDetail(row, entry);
    } catch (error) {
      byId("d-body").replaceChildren(make("p", "it cannot be shown: " + error.message, "note"));
    }
  };

  // ---- all of it, again and again ----

  const showState = (good, text) => {
    byId("state").className = "state " + (good ? "good" : "bad");
    put("state-text", text);
  };

  const poll = async () => {
    try {
      const status = await askIfAllowed("/status.json");
      showStatus(status);
      if (status !== null) showConnections(await askIfAllowed("/connections.json"));
      await loadCatalog();
      showImages();
      showState(true, "live");
    } catch (error) {
      showState(false, error.status === 401 ? "a token is needed" : error.status ? "error " + error.status : "not reachable");
    }
    setTimeout(poll, kPollMs);
  };

  document.addEventListener("DOMContentLoaded", () => {
    byId("search").addEventListener("input", (event) => {
      state.query = event.target.value.trim().toLowerCase();
      state.page = 0;
      showImages();
    });
    byId("before").addEventListener("click", () => { --state.page; showImages(); });
    byId("after").addEventListener("click", () => { ++state.page; showImages(); });
    for (const button of document.querySelectorAll("#images [data-sort]")) {
      button.addEventListener("click", () => {
        state.down = state.sort === button.dataset.sort ? !state.down : button.closest("th").classList.contains("number");
        state.sort = button.dataset.sort;
        state.page = 0;
        showImages();
      });
    }
    byId("close").addEventListener("click", () => byId("detail").close());
    byId("detail").addEventListener("click", (event) => { if (event.target === byId("detail")) byId("detail").close(); });
    poll();
  });
})();
