//! The screen of `csf top`.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row as Cells, Table};

use super::guards;
use super::table::{Column, Order, Row, ordered};
use crate::commands::nanos;

/// What is on the screen.
#[derive(Clone, Debug, Default)]
pub(super) struct Screen {
    /// The node in one line.
    pub(super) title: String,
    pub(super) rows: Vec<Row>,
    pub(super) guards: Vec<guards::Row>,
    pub(super) order: Order,
    /// First row shown.
    pub(super) scroll: usize,
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    pub(super) has_help: bool,
    /// Why the newest look failed; empty when it did not.
    pub(super) trouble: String,
}

/// Guards on the screen; `--once` and `--json` show all.
const GUARDS_SHOWN: usize = 6;

const HELP: [&str; 9] = [
    "s, right   sort by the next column",
    "S, left    sort by the column before",
    "r          turn the order round",
    "/          show only what contains the text you type; Esc clears",
    "up, down   scroll",
    "p, space   pause",
    "?          this help",
    "q, Ctrl-C  leave",
    "lag: packets not passed yet; misses: after their deadline",
];

pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let height = if screen.guards.is_empty() { 0 } else { screen.guards.len().min(GUARDS_SHOWN) as u16 + 1 };
    let heights = [Constraint::Length(1), Constraint::Min(3), Constraint::Length(height), Constraint::Length(2)];
    let [top, middle, below, bottom] = Layout::vertical(heights).areas(frame.area());
    frame.render_widget(Line::styled(screen.title.as_str(), Style::new().add_modifier(Modifier::BOLD)), top);
    frame.render_widget(table(screen, middle), middle);
    if height > 0 {
        frame.render_widget(guards_table(screen), below);
    }
    frame.render_widget(Paragraph::new(foot(screen)), bottom);
    if screen.has_help {
        help(frame);
    }
}

fn table(screen: &Screen, area: Rect) -> Table<'_> {
    let header = Column::ALL.iter().map(|column| {
        let is_sorted = *column == screen.order.column;
        let mark = match (is_sorted, screen.order.is_reversed) {
            (false, _) => "",
            (true, false) => " ▾",
            (true, true) => " ▴",
        };
        let style = if is_sorted { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        Cell::from(format!("{}{mark}", column.title())).style(style)
    });
    let shown = usize::from(area.height.saturating_sub(1));
    let rows = ordered(screen.rows.clone(), &screen.order).into_iter().skip(screen.scroll).take(shown).map(cells);
    let widths = [
        Constraint::Min(16),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Length(8),
    ];
    Table::new(rows, widths).header(Cells::new(header).style(Style::new().fg(Color::Cyan)))
}

fn guards_table(screen: &Screen) -> Table<'_> {
    let row = |guard: &guards::Row| {
        let style = match guard.breaker.as_str() {
            "open" | "forced-open" => Style::new().fg(Color::Red),
            "half-open" => Style::new().fg(Color::Yellow),
            _ => Style::new(),
        };
        Cells::new(guards::line(guard)).style(style)
    };
    let widths = [16, 12, 8, 8, 8, 8, 8].map(Constraint::Length).into_iter().chain([Constraint::Min(8)]);
    let rows = screen.guards.iter().take(GUARDS_SHOWN).map(row);
    Table::new(rows, widths).header(Cells::new(guards::HEAD).style(Style::new().fg(Color::Cyan)))
}

fn cells<'a>(row: Row) -> Cells<'a> {
    let name = if row.group.is_empty() { row.name } else { format!("{}/{}", row.group, row.name) };
    let count = |n: u64| if n == 0 { String::new() } else { n.to_string() };
    let p99 = if row.p99_ns == 0 { String::new() } else { nanos(row.p99_ns) };
    let style = match row.state.as_str() {
        "failed" => Style::new().fg(Color::Red),
        "restarting" => Style::new().fg(Color::Yellow),
        "finished" | "stopped" => Style::new().fg(Color::DarkGray),
        _ => Style::new(),
    };
    let texts = [
        name,
        row.state,
        format!("{:.1}", row.rate_hz),
        count(row.lag),
        count(row.queue),
        count(row.restarts),
        p99,
        count(row.deadline_misses),
    ];
    Cells::new(texts).style(style)
}

/// The last failures, or what is being typed.
fn foot(screen: &Screen) -> Vec<Line<'_>> {
    let failed =
        screen.rows.iter().find(|r| !r.last_failure.is_empty() && matches!(r.state.as_str(), "failed" | "restarting"));
    let first = match (screen.trouble.is_empty(), failed) {
        (false, _) => Line::styled(screen.trouble.as_str(), Style::new().fg(Color::Red)),
        (true, Some(row)) => {
            Line::styled(format!("{}: {}", row.name, row.last_failure), Style::new().fg(Color::Yellow))
        }
        (true, None) => Line::default(),
    };
    let second = if screen.is_typing || !screen.order.filter.is_empty() {
        format!("/{}{}", screen.order.filter, if screen.is_typing { "▏" } else { "" })
    } else if screen.is_paused {
        "paused; p goes on".to_owned()
    } else {
        "q leave   s sort   r reverse   / filter   p pause   ? help".to_owned()
    };
    vec![first, Line::styled(second, Style::new().fg(Color::DarkGray))]
}

fn help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let (width, height) = (66.min(area.width), (HELP.len() as u16 + 2).min(area.height));
    let area = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    frame.render_widget(Clear, area);
    let lines: Vec<Line<'_>> = HELP.iter().map(|text| Line::raw(*text)).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" csf top ")), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn text(screen: &Screen) -> String {
        let mut terminal = Terminal::new(TestBackend::new(84, 14)).unwrap();
        terminal.draw(|frame| draw(frame, screen)).unwrap();
        terminal.backend().to_string()
    }

    fn screen() -> Screen {
        let row = |name: &str, state: &str, lag| Row {
            name: name.to_owned(),
            state: state.to_owned(),
            lag,
            rate_hz: 12.34,
            ..Row::default()
        };
        let mut flight = row("flight", "failed", 0);
        flight.group = "ingest".to_owned();
        flight.last_failure = "no such recording".to_owned();
        Screen { title: "demo up 3 s".to_owned(), rows: vec![row("fusion", "running", 7), flight], ..Screen::default() }
    }

    #[test]
    fn it_shows_rows_the_sorted_column_and_the_last_failure() {
        let text = text(&screen());
        for expected in ["demo up 3 s", "name ▾", "ingest/flight", "12.3", "flight: no such recording", "? help"] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        assert!(text.find("flight").unwrap() < text.find("fusion").unwrap());
    }

    #[test]
    fn guards_stand_below_where_there_are_some() {
        let mut screen = screen();
        assert!(!text(&screen).contains("breaker"));
        let guard =
            |n: u32| guards::Row { name: format!("backend-{n}"), breaker: "open".to_owned(), ..guards::Row::default() };
        screen.guards = (0..9).map(guard).collect();
        let text = text(&screen);
        assert!(text.contains("breaker") && text.contains("backend-5") && !text.contains("backend-6"), "{text}");
        assert!(text.contains("ingest/flight") && text.contains("? help"), "{text}");
    }

    #[test]
    fn it_filters_scrolls_and_helps() {
        let mut screen = screen();
        screen.order.filter = "fus".to_owned();
        assert!(!text(&screen).contains("ingest/flight"));
        screen.order.filter.clear();
        screen.scroll = 1;
        assert!(!text(&screen).contains("ingest/flight"), "the first row is scrolled away");
        screen.has_help = true;
        assert!(text(&screen).contains("turn the order round"));
    }
}
