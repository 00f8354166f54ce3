//! `csf top`: who does how much, who falls behind, who was restarted, and why.

mod guards;
mod table;
mod view;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::json;

use self::table::{Order, Row, ordered, rows};
use self::view::Screen;
use super::{Outcome, nanos, print_json};
use crate::cli::Top;
use crate::client::Client;
use crate::diagnostic::Failure;

pub(crate) fn run(args: &Top) -> Outcome {
    let client = Client::connect(args.remote.node.as_deref())?;
    if args.remote.json {
        let Look { title, rows, guards } = second_look(&client, args.interval)?;
        let rows = ordered(rows, &Order::default());
        return print_json(&json!({ "node": title, "rows": rows, "guards": guards }));
    }
    if args.once || !std::io::stdout().is_terminal() {
        let Look { title, rows, guards } = second_look(&client, args.interval)?;
        print(&title, &ordered(rows, &Order::default()), &guards);
        return Ok(ExitCode::SUCCESS);
    }
    let mut terminal = ratatui::init();
    let outcome = watch(&client, &mut terminal, args.interval);
    ratatui::restore();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// What one look at a node shows.
struct Look {
    /// The node in one line.
    title: String,
    rows: Vec<Row>,
    guards: Vec<guards::Row>,
}

/// Rates are what happened between two looks.
fn second_look(client: &Client, interval: Duration) -> Result<Look, Failure> {
    look(client)?;
    #[expect(clippy::disallowed_methods, reason = "there is no event to wait for: time itself is measured")]
    std::thread::sleep(interval);
    look(client)
}

fn look(client: &Client) -> Result<Look, Failure> {
    let node = client.get("/api/v1/node")?;
    let health = client.get("/api/v1/health")?;
    let rows =
        rows(&client.get("/api/v1/components")?, &client.get("/api/v1/bus")?, &client.get("/api/v1/supervision")?);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
    let uptime = node["uptime_ns"].as_str().and_then(|s| s.parse().ok()).unwrap_or(0);
    let title = format!(
        "{} at {}  {}  {}  up {}  {} parts",
        text(&node["name"]),
        client.address(),
        text(&node["state"]),
        text(&health["overall_status"]),
        nanos(uptime),
        rows.len(),
    );
    let guards = guards::rows(&client.get("/api/v1/resilience")?);
    Ok(Look { title, rows, guards })
}

fn print(title: &str, rows: &[Row], guards: &[guards::Row]) {
    println!("{title}\n");
    println!(
        "{:<24} {:<10} {:>10} {:>8} {:>8} {:>8} {:>9} {:>7}",
        "name", "state", "rate/s", "lag", "queue", "restarts", "p99", "misses"
    );
    for row in rows {
        let name = if row.group.is_empty() { row.name.clone() } else { format!("{}/{}", row.group, row.name) };
        println!(
            "{name:<24} {:<10} {:>10.1} {:>8} {:>8} {:>8} {:>9} {:>7}",
            row.state,
            row.rate_hz,
            row.lag,
            row.queue,
            row.restarts,
            if row.p99_ns == 0 { String::new() } else { nanos(row.p99_ns) },
            row.deadline_misses,
        );
    }
    if guards.is_empty() {
        return;
    }
    println!();
    for cells in std::iter::once(guards::HEAD.map(str::to_owned)).chain(guards.iter().map(guards::line)) {
        let [name, breaker, calls, failed, refused, retries, slots, around] = cells;
        println!("{name:<24} {breaker:<13} {calls:>8} {failed:>8} {refused:>8} {retries:>8} {slots:>9}  {around}");
    }
}

fn watch(client: &Client, terminal: &mut ratatui::DefaultTerminal, interval: Duration) -> Result<(), Failure> {
    let mut screen = Screen::default();
    loop {
        if !screen.is_paused {
            match look(client) {
                Ok(Look { title, rows, guards }) => {
                    (screen.title, screen.rows, screen.guards) = (title, rows, guards);
                    screen.trouble.clear();
                }
                // The node may come back: what was seen last stays on the screen.
                Err(Failure::Other { code, message }) => screen.trouble = format!("[{code}] {message}"),
                Err(failure) => return Err(failure),
            }
        }
        // Keys are answered at once; the next look comes with the interval.
        loop {
            terminal.draw(|frame| view::draw(frame, &screen))?;
            if !event::poll(interval)? {
                break;
            }
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
                && !press(&mut screen, key)
            {
                return Ok(());
            }
        }
    }
}

/// What a key does; false to leave.
fn press(screen: &mut Screen, key: KeyEvent) -> bool {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    if is_control && key.code == KeyCode::Char('c') {
        return false;
    }
    if screen.is_typing {
        match key.code {
            KeyCode::Esc => {
                screen.order.filter.clear();
                screen.is_typing = false;
            }
            KeyCode::Enter => screen.is_typing = false,
            KeyCode::Backspace => drop(screen.order.filter.pop()),
            KeyCode::Char(c) if !key.modifiers.contains(KeyModifiers::ALT) => screen.order.filter.push(c),
            _ => {}
        }
        screen.scroll = 0;
        return true;
    }
    match key.code {
        KeyCode::Esc if screen.has_help => screen.has_help = false,
        KeyCode::Esc if !screen.order.filter.is_empty() => screen.order.filter.clear(),
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('?' | 'h') => screen.has_help = !screen.has_help,
        KeyCode::Char('s') | KeyCode::Right => screen.order.column = screen.order.column.beside(1),
        KeyCode::Char('S') | KeyCode::Left => screen.order.column = screen.order.column.beside(-1),
        KeyCode::Char('r') => screen.order.is_reversed = !screen.order.is_reversed,
        KeyCode::Char('p' | ' ') => screen.is_paused = !screen.is_paused,
        KeyCode::Char('/') => screen.is_typing = true,
        KeyCode::Down => screen.scroll = (screen.scroll + 1).min(screen.rows.len().saturating_sub(1)),
        KeyCode::Up => screen.scroll = screen.scroll.saturating_sub(1),
        _ => {}
    }
    true
}

#[cfg(test)]
mod tests {
    use super::table::Column;
    use super::*;

    fn presses(text: &str) -> (Screen, bool) {
        let mut screen = Screen::default();
        let mut stays = true;
        for c in text.chars() {
            let code = match c {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                c => KeyCode::Char(c),
            };
            stays = press(&mut screen, KeyEvent::new(code, KeyModifiers::NONE));
        }
        (screen, stays)
    }

    #[test]
    fn keys_sort_filter_and_leave() {
        let (screen, stays) = presses("ssr/q\n");
        assert_eq!(
            (screen.order.column, screen.order.is_reversed, screen.order.filter.as_str()),
            (Column::Rate, true, "q")
        );
        assert!(stays, "a letter of the filter is no command");
        assert!(!presses("q").1);
        let (screen, stays) = presses("/abc\n\u{1b}");
        assert!(stays && screen.order.filter.is_empty(), "the first Esc clears the filter");
    }
}
