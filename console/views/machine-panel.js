// @ts-check
/** The machine's own telemetry: current values, two minutes of history, anomalies marked where they happened. */
import { html } from '../ui/html.js';
import { Panel } from '../ui/panel.js';
import { Spark } from '../ui/spark.js';
import { Q } from '../ui/basics.js';
import { machine, WINDOW_S } from '../lib/machine.js';
import { makeHash } from '../lib/router.js';
import { MACHINE } from '../lib/shapes.js';
import { useStores } from '../lib/store.js';
import { bytes, bytesPerSecond, duration, fixed, percent, text, NONE } from '../lib/format.js';
import { curlSubscribe } from '../lib/commands.js';

/** @param {unknown} v @param {string} unit @returns {import('../lib/format.js').Quantity} */
export function machineQuantity(v, unit) {
  if (typeof v !== 'number') return [NONE, ''];
  switch (unit) {
    case 'share': return percent(v);
    case 'bytes': return bytes(v);
    case 'rate': return bytesPerSecond(v);
    case 'ns': return duration(v);
    default: return [fixed(v), ''];
  }
}

export function MachinePanel() {
  useStores(machine);
  const now = Math.max(...[...machine.series.values()].map((l) => l.at(-1)?.t ?? 0));
  return html`<${Panel} title="Machine" topics=${['host.cpu', 'host.memory']} csf="csf tap 'host.>'" curl=${curlSubscribe('host.>')} flush
    extra=${html`<span class="panel-note">last ${WINDOW_S} s</span>`}>
    <ul class="machine">
      ${MACHINE.map((m) => {
    const points = machine.series.get(m.key) ?? [];
    const value = machineQuantity(points.at(-1)?.v, m.unit);
    const more = m.more(machine.last.get(m.topic)?.payload);
    const marks = machine.anomalies.filter((a) => a.raised && a.stream === m.topic).map((a) => a.t);
    return html`<li class="gauge" key=${m.key}>
          <a class="gauge-name" href=${makeHash('topics', m.topic)}>${m.label}</a>
          <span class="gauge-value"><${Q} v=${value} /></span>
          <${Spark} points=${points} now=${now} window=${WINDOW_S} max=${m.max} signed=${m.unit === 'ns'} marks=${marks} label=${`${m.label}: ${text(value)}, last ${WINDOW_S} seconds`} />
          <span class="gauge-more">${more.value !== undefined ? `${more.what} ${text(machineQuantity(more.value, more.unit))}` : '\u00a0'}</span>
        </li>`;
  })}
    </ul>
  </${Panel}>`;
}
