"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const MOST = 50;

  /** A new element with text in it; text is never markup. */
  const make = (tag, text, name) => {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    if (name) element.className = name;
    return element;
  };
  const head = (cells) => {
    const row = make("tr");
    for (const cell of cells) {
      const header = make("th", cell);
      header.scope = "col";
      row.append(header);
    }
    const thead = make("thead");
    thead.append(row);
    return thead;
  };
  const table = (titles, rows, caption) => {
    const whole = make("table");
    if (caption) whole.append(make("caption", caption));
    whole.append(head(titles));
    const body = make("tbody");
    for (const cells of rows) {
      const row = make("tr");
      for (const cell of cells) row.append(make("td", cell));
      body.append(row);
    }
    whole.append(body);
    return whole;
  };

  const call = async (path, body) => {
    const headers = {};
    if (at("key").value) headers.authorization = "Bearer " + at("key").value;
    const options = body ? { method: "POST", body: JSON.stringify(body), headers } : { headers };
    const answer = await fetch(path, options);
    const text = await answer.text();
    let json = null;
    try { json = JSON.parse(text); } catch { /* said below */ }
    if (!answer.ok) {
      const error = json && json.error;
      const message = (error && (error.message || error)) || "the server answered " + answer.status;
      throw Object.assign(new Error(message), { status: answer.status });
    }
    return json;
  };

  /** Vectors have norm 1 in most spaces, but not in all. */
  const cosine = (a, b) => {
    let dot = 0, aa = 0, bb = 0;
    for (let i = 0; i < a.length; i++) { dot += a[i] * b[i]; aa += a[i] * a[i]; bb += b[i] * b[i]; }
    return dot / Math.sqrt(aa * bb);
  };

  /** Two decimals; what rounds to nothing has no sign. */
  const shown = (value) => (Math.round(value * 100) / 100 + 0).toFixed(2);

  const showRows = (texts, rows, routes) => {
    const whole = at("rows");
    whole.replaceChildren(head(["#", "Text", "Language", "Rule", "Route", "Model", "Space", "Tokens", "From"]));
    const body = make("tbody");
    rows.forEach((row, index) => {
      const line = make("tr");
      const route = routes[index] || {};
      const details = row.details || {};
      const tokens = details.tokens ? details.tokens.used + (details.truncated ? " of " + details.tokens.total + ", cut" : "") : "";
      line.append(make("td", index + 1, "number"), make("td", texts[index], "text"));
      line.children[1].title = texts[index];
      if (row.error) {
        const error = make("td", row.error.message, "bad");
        error.colSpan = 7;
        line.append(error);
      } else {
        const sure = route.language ? route.language + " (" + Math.round(route.confidence * 100) + " %)" : "";
        for (const cell of [sure, route.rule, details.route || route.route, details.model, row.space, tokens, details.tier || "model"]) {
          line.append(make("td", cell));
        }
      }
      body.append(line);
    });
    whole.append(body);
    at("rows-section").hidden = false;
  };

  const showHeat = (texts, rows) => {
    const good = rows.map((row, index) => ({ row, index })).filter(({ row }) => row.embedding).slice(0, MOST);
    // Colours span the values of a space, because spaces use different parts of the scale.
    const range = new Map();
    for (const a of good) {
      for (const b of good) {
        if (a.index === b.index || a.row.space !== b.row.space) continue;
        const value = cosine(a.row.embedding, b.row.embedding);
        const [low, high] = range.get(a.row.space) || [1, -1];
        range.set(a.row.space, [Math.min(low, value), Math.max(high, value)]);
      }
    }
    // The ends of each space's scale in numbers.
    at("scales").replaceChildren(...[...range].map(([space, [low, high]]) => {
      const scale = make("li");
      scale.append(make("span", shown(low) + " "), make("span", "", "ramp"), make("span", " " + shown(high) + ": " + space));
      return scale;
    }));
    const whole = at("heat");
    whole.replaceChildren(make("caption", "Cosine of each pair of texts"), head(["Text", ...good.map(({ index }) => index + 1)]));
    const body = make("tbody");
    for (const a of good) {
      const line = make("tr");
      const name = make("th", a.index + 1 + " " + texts[a.index], "text");
      name.scope = "row";
      line.append(name);
      for (const b of good) {
        if (a.row.space !== b.row.space) {
          const none = make("td", "", "none");
          none.setAttribute("aria-label", "two spaces");
          line.append(none);
          continue;
        }
        const value = cosine(a.row.embedding, b.row.embedding);
        // A text's similarity to itself says nothing, so it has no colour.
        if (a.index === b.index) {
          line.append(make("td", shown(value), "number same"));
          continue;
        }
        const [low, high] = range.get(a.row.space);
        const part = high > low ? (value - low) / (high - low) : value;
        const colour = "number c" + Math.max(0, Math.min(9, Math.floor(part * 10)));
        line.append(make("td", shown(value), value === high ? colour + " best" : colour));
      }
      body.append(line);
    }
    whole.append(body);
    at("heat-section").hidden = good.length < 2;
  };

  const say = (text, bad) => {
    at("message").textContent = text;
    at("message").className = bad ? "bad" : "";
  };

  at("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const texts = at("texts").value.split("\n").map((line) => line.trim()).filter((line) => line);
    if (!texts.length) return say("Type a text first.", true);
    at("go").disabled = true;
    say("Embedding " + texts.length + " texts…");
    const started = performance.now();
    try {
      const input = { model: at("model").value, input: texts, input_type: at("role").value, partial: true, details: true };
      const wanted = [call("v1/embeddings", input)];
      // Without a router there are no decisions to show.
      wanted.push(call("route", { input: texts, role: at("role").value }).then((answer) => answer.routes, () => []));
      const [answer, routes] = await Promise.all(wanted);
      showRows(texts, answer.data, routes);
      showHeat(texts, answer.data);
      const failed = answer.data.filter((row) => row.error).length;
      const spaces = new Set(answer.data.filter((row) => row.space).map((row) => row.space)).size;
      say(texts.length - failed + " of " + texts.length + " texts embedded in " + Math.round(performance.now() - started) +
        " ms, in " + spaces + (spaces === 1 ? " space." : " spaces."), failed > 0);
    } catch (error) {
      say(error.message, true);
    } finally {
      at("go").disabled = false;
      look();
    }
  });
  at("texts").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("form").requestSubmit();
  });

  const megabytes = (bytes) => (bytes === null ? "" : (bytes / 1048576).toFixed(1) + " MB");
  let health = "";
  const showState = (status) => {
    const gateway = status.gateway;
    const now = "The gateway is " + (gateway.draining ? "draining" : status.health.status) +
      (status.health.reason ? ": " + status.health.reason : "") + ".";
    // Only changes are announced to screen readers, not every refresh.
    if (now !== health) at("health").textContent = health = now;
    at("health").className = status.health.status === "ready" ? "" : "bad";
    const chosen = at("model").value;
    const names = status.models.map((model) => model.name);
    if (names.join("\n") !== [...at("model").options].map((option) => option.value).join("\n")) {
      at("model").replaceChildren(...names.map((name) => new Option(name)));
      if (names.includes(chosen)) at("model").value = chosen;
    }
    const parts = [
      make("p", "Version " + gateway.version + ", up " + gateway.uptime_seconds + " s. " + gateway.connections + " connections, " +
        gateway.in_flight + " at work, " + gateway.waiting + " waiting, " + gateway.accepted + " accepted, " + gateway.refused + " refused."),
      table(["Model", "Also", "Service", "Space", "Numbers", "Reads tokens"], status.models.map((model) =>
        [model.name, model.aliases.join(", "), model.mixed ? "by language" : model.service, model.mixed ? "several" : model.space ?? "not there yet", model.dimensions, model.max_tokens]), "Models"),
    ];
    if (status.routes.length) {
      parts.push(table(["Route", "Model", "Space", "State", "Why"], status.routes.map((route) =>
        [route.name, route.model, route.space, route.state, route.reason]), "Routes"));
    }
    if (status.caches.length) {
      parts.push(table(["Cache", "State", "Hits", "Misses", "Size"], status.caches.map((cache) =>
        [cache.name, cache.state, cache.hits, cache.misses, megabytes(cache.bytes)]), "Caches"));
    }
    for (const part of parts.slice(1)) part.className = "state";
    at("state").replaceChildren(...parts);
  };
  const look = async () => {
    if (document.hidden) return;
    try {
      showState(await call("status"));
    } catch (error) {
      health = "";
      at("health").textContent = error.status === 401 ? "The state needs an API key." : "The gateway doesn't answer.";
      at("health").className = "bad";
    }
  };
  at("key").addEventListener("change", look);
  look();
  setInterval(look, 3000);
})();
