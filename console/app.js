// @ts-check
/** Starts the console: theme, address, live connection, and the frame around the views. */
import { html, render, useEffect } from './ui/html.js';
import { theme } from './lib/theme.js';
import { router } from './lib/router.js';
import { page, useStores } from './lib/store.js';
import { session } from './lib/api.js';
import { flight } from './lib/flight.js';
import { machine } from './lib/machine.js';
import { startKeys } from './lib/keys.js';
import { Bar } from './ui/bar.js';
import { GoDialog, HelpDialog } from './ui/dialogs.js';
import { Overview } from './views/overview.js';
import { Graph } from './views/graph.js';
import { Topics } from './views/topics.js';
import { Why } from './views/why.js';
import { Supervision } from './views/supervision.js';
import { Workflows } from './views/workflows.js';
import { Node } from './views/node.js';

const PAGES = { overview: Overview, graph: Graph, topics: Topics, why: Why, supervision: Supervision, workflows: Workflows, node: Node };

function App() {
  useStores(router, page, session);
  const { view } = router.route;
  useEffect(() => {
    document.title = `${view[0].toUpperCase()}${view.slice(1)} · ChronoFabric`;
  }, [view]);
  const View = PAGES[/** @type {keyof typeof PAGES} */ (view)];
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <${Bar} />
    <main id="main" tabindex="-1" class=${`view view-${view}`}>${session.denied ? html`<${SignIn} />` : html`<${View} />`}</main>
    ${page.dialog === 'go' && html`<${GoDialog} />`}
    ${page.dialog === 'help' && html`<${HelpDialog} />`}
    <div class="toast-area" aria-live="polite">${page.toast && html`<div class=${`toast toast-${page.toast.kind}`}>${page.toast.kind === 'ok' ? html`<span class="muted">Copied</span>` : ''}<code>${page.toast.text}</code></div>`}</div>`;
}

/** The hash holds the view, so the skip link moves the focus itself. @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

const SignIn = () => html`<div class="sign-in">
  <h1>This node wants a session</h1>
  <p>Open the address that <code>csf up</code> printed last. It carries a code that works once; start the node again for a new one.</p>
</div>`;

theme.start();
router.start();
startKeys();
const root = /** @type {HTMLElement} */ (document.getElementById('app'));
root.replaceChildren();
render(html`<${App} />`, root);
flight.begin();
machine.begin();
