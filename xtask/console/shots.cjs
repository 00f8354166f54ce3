// Starts a demo node, opens every view of its console in Chromium at two sizes and themes, takes pictures, and fails on any
// axe-core finding, console error, missing data or horizontal scroll. Environment: CSF (binary), OUT (folder).
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { chromium } = require("playwright-core");

const SIZES = [[1280, 800], [390, 844]];
const SCHEMES = ["dark", "light"];
const READY_MS = 30000;
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

/** Starts `csf up --demo` and resolves, once the flight is over, to the printed login address. */
function startNode(state) {
  const node = spawn(process.env.CSF, ["up", "--demo", "--speed", "20", "--listen", "127.0.0.1:0"],
    { env: { ...process.env, CSF_STATE: state }, stdio: ["ignore", "pipe", "pipe"] });
  return new Promise((resolve, reject) => {
    let out = "", err = "";
    node.stderr.on("data", (d) => { err += d; });
    node.on("exit", () => reject(new Error(`node ended early\n${err}`)));
    node.stdout.on("data", (d) => {
      out += d;
      const address = out.match(/http:\/\/\S+login\?code=\w+/);
      // The flight is over when its summary is printed.
      if (address && out.includes("prove it")) resolve({ node, address: address[0] });
    });
  });
}

/** Every view, and within the views what one comes to by a click. @param event id of a packet with causes */
const views = (event) => ({
  overview: "overview",
  graph: "graph",
  "graph-component": "graph/fusion",
  topics: "topics",
  "topic-last": "topics/nav.state",
  "topic-tail": "topics/host.cpu?tab=tail",
  "topic-schema": "topics/nav.state?tab=schema",
  "topic-publish": "topics/nav.gnss?tab=publish",
  "why-start": "why",
  why: `why/${event}`,
  trace: `why/${event}?view=trace`,
  supervision: "supervision",
  "supervision-part": `supervision/${encodeURIComponent("demo/services")}`,
  workflows: "workflows",
  "workflows-run": "workflows/thumbnail-2",
  "workflows-none": "workflows?status=blocked",
  node: "node",
});

/** Something to look at: tasks that wait, are done and have failed. @param request of a context that has signed in */
async function work(request, origin) {
  const post = async (path, data) => {
    const answer = await request.post(`${origin}/api/v1/tasks${path}`, { data, headers: { origin } });
    if (!answer.ok()) throw new Error(`${path}: ${await answer.text()}`);
    return answer.json();
  };
  for (const n of [1, 2, 3, 4, 5]) await post("", { id: `thumbnail-${n}`, kind: "thumbnail", input: { file: `${n}.png` } });
  const { tasks } = await post("/poll", { agent: "painter", kinds: ["thumbnail"], max: 3 });
  await post(`/${tasks[0].id}/heartbeat`, { token: tasks[0].token, progress: { share: 0.5 } });
  await post(`/${tasks[1].id}/complete`, { token: tasks[1].token, output: { file: "2.small.png" } });
  await post(`/${tasks[2].id}/fail`, { token: tasks[2].token, reason: "the picture has no pixels", is_final: true });
}

/** Opens one view, judges it, takes its picture, and returns what is wrong with it. */
async function judge(context, axe, origin, address, { name, width, height, scheme }) {
  const faults = [];
  const page = await context.newPage();
  page.on("console", (m) => { if (m.type() === "error") faults.push(m.text()); });
  page.on("pageerror", (e) => faults.push(e.message));
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme: scheme });
  await page.goto(`${origin}/#/${address}`);
  await page.waitForSelector("main[data-ready=true]", { timeout: READY_MS });
  // Two frames later what the data changed is on the screen.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  await page.screenshot({ path: path.join(process.env.OUT, `${name}-${width}x${height}-${scheme}.png`) });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  if (wide > 0) faults.push(`scrolls ${wide} px sideways`);
  await page.evaluate(axe);
  const report = await page.evaluate(() => window.axe.run());
  for (const v of report.violations) faults.push(`axe ${v.id}: ${v.help} (${v.nodes.map((n) => n.target).join(", ")})`);
  await page.close();
  return faults.map((fault) => `${name} ${width} ${scheme}: ${fault}`);
}

async function main() {
  const state = fs.mkdtempSync(path.join(os.tmpdir(), "csf-shots-"));
  const { node, address } = await startNode(state);
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
  const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
  const { origin } = new URL(address);
  const faults = [];
  let pages = 0;
  try {
    const context = await browser.newContext();
    const first = await context.newPage();
    await first.goto(address);
    await first.close();
    const event = (await (await context.request.get(`${origin}/api/v1/topics/nav.geofence/last`)).json()).id;
    await work(context.request, origin);
    for (const scheme of SCHEMES) {
      for (const [width, height] of SIZES) {
        for (const [name, view] of Object.entries(views(event))) {
          faults.push(...await judge(context, axe, origin, view, { name, width, height, scheme }));
          pages += 1;
        }
      }
    }
  } finally {
    await browser.close();
    node.removeAllListeners("exit");
    const ended = new Promise((resolve) => node.on("exit", resolve));
    node.kill("SIGINT");
    await ended;
    fs.rmSync(state, { recursive: true, force: true });
  }
  for (const fault of faults) console.error(fault);
  console.log(`${pages} pages, ${faults.length} faults, pictures in ${process.env.OUT}`);
  process.exit(faults.length === 0 ? 0 : 1);
}

main().catch((error) => { console.error(error); process.exit(1); });
