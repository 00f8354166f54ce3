// @ts-check
/** Attitude, speeds and their uncertainty at the moment under the cursor. */
import { html } from '../ui/html.js';
import { Panel } from '../ui/panel.js';
import { Horizon, Compass } from '../ui/horizon.js';
import { Q, PacketLink } from '../ui/basics.js';
import { flight } from '../lib/flight.js';
import * as shapes from '../lib/shapes.js';
import { quantity, fixed } from '../lib/format.js';
import { curl } from '../lib/commands.js';

/** @param {{label: string, v: import('../lib/format.js').Quantity, sigma?: number | null, digits?: number}} props */
const Row = ({ label, v, sigma, digits = 2 }) => html`<div class="num-row"><dt>${label}</dt><dd><${Q} v=${v} />${sigma != null && html`<span class="sigma" title="one sigma">±${fixed(sigma, digits)}</span>`}</dd></div>`;

/** @param {{cursor: number | null}} props */
export function Attitude({ cursor }) {
  const s = flight.at('nav.state', cursor);
  // Uncertainties belong to the newest state only: older ones are not kept.
  const sigma = cursor === null && flight.newest ? shapes.sigmas(flight.newest.payload) : null;
  return html`<${Panel} title="Attitude and speed" topics=${['nav.state']} csf="csf tap nav.state --json" curl=${curl('/topics/nav.state/last')}
    mark=${cursor !== null && s && html`<span class="tag">at ${fixed(s.t - flight.start, 2)} s</span>`}>
    <div class="attitude">
      <div class="instruments"><${Horizon} roll=${s?.roll ?? null} pitch=${s?.pitch ?? null} /><${Compass} yaw=${s?.yaw ?? null} /></div>
      <dl class="numbers">
        <${Row} label="Roll" v=${quantity(s?.roll, '°', 1)} sigma=${sigma?.attitude?.[0]} />
        <${Row} label="Pitch" v=${quantity(s?.pitch, '°', 1)} sigma=${sigma?.attitude?.[1]} />
        <${Row} label="Heading" v=${quantity(s?.yaw, '°', 1)} sigma=${sigma?.attitude?.[2]} digits=${1} />
        <${Row} label="Speed" v=${quantity(s?.horizontalSpeed, 'm/s')} sigma=${sigma?.velocity?.[0]} />
        <${Row} label="Climb" v=${quantity(s?.climb, 'm/s')} sigma=${sigma?.velocity?.[2]} />
        <${Row} label="Height" v=${quantity(s?.height, 'm')} sigma=${sigma?.position?.[2]} />
        <div class="num-row"><dt>Packet</dt><dd><${PacketLink} id=${s?.id} /></dd></div>
      </dl>
    </div>
  </${Panel}>`;
}
