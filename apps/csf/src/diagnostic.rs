//! Rendering of problems and failures, the way `cargo` does it: code, place, caret, help.

use std::io::IsTerminal;

use csf_runtime::config::Problem;

/// Whether stderr takes colours.
pub(crate) fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal()
}

/// A command that did not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A configuration with problems.
    Config(Vec<Problem>),
    /// Somebody asked for the stop before the start was over. No failure: it is told, and the process ends well.
    Interrupted {
        /// The phase of the start that was under way.
        phase: u8,
        /// Its name.
        name: &'static str,
    },
    /// Anything else.
    Other {
        /// `CSF-nnnn`, or empty.
        code: &'static str,
        /// What happened and what to do.
        message: String,
    },
}

impl Failure {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self::Other { code, message: message.into() }
    }

    /// 2 for configurations, 0 for an interrupted start, 1 for the rest.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            Self::Interrupted { .. } => 0,
            Self::Other { .. } => 1,
        }
    }

    pub(crate) fn print(&self) {
        match self {
            Self::Config(problems) => {
                for problem in problems {
                    eprintln!("{}", render(problem, colours()));
                }
                let count = problems.len();
                eprintln!("{count} problem{} found", if count == 1 { "" } else { "s" });
            }
            Self::Interrupted { phase, name } => {
                eprintln!("interrupted in phase {phase} of the start, {name}; everything begun was stopped again");
            }
            Self::Other { code, message } => eprintln!("{}", render(&Problem::new(code, message.clone()), colours())),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new("CSF-0210", error.to_string())
    }
}

impl From<csf_core::port::JournalError> for Failure {
    fn from(error: csf_core::port::JournalError) -> Self {
        let boot = csf_runtime::node::BootError::Journal(error);
        Self::new(boot.code(), boot.to_string())
    }
}

/// One problem as text, ending without a newline.
pub(crate) fn render(problem: &Problem, colour: bool) -> String {
    let paint = |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let head = if problem.code.is_empty() { "error".to_owned() } else { format!("error[{}]", problem.code) };
    let mut out = format!("{}: {}", paint("1;31", &head), paint("1", &problem.message));
    if let Some(location) = &problem.location {
        let (line, column) = location.line_column();
        let text = location.source.text.lines().nth(line - 1).unwrap_or("");
        let gutter = line.to_string().len();
        let blank = " ".repeat(gutter);
        let bar = paint("1;34", "|");
        let end = location.span.end.min(location.source.text.len());
        let inside = location.source.text.get(location.span.start..end).unwrap_or("");
        let width = inside.lines().next().unwrap_or("").chars().count().max(1);
        let carets = paint("1;31", &"^".repeat(width));
        let label =
            if problem.label.is_empty() { String::new() } else { format!("  {}", paint("1;31", &problem.label)) };
        out += &format!("\n{blank}{} {}:{line}:{column}", paint("1;34", "-->"), location.source.name);
        let line = paint("1;34", &line.to_string());
        if problem.is_confidential {
            // The label never shows a value: beside a secret it would have nothing to point at.
            out += &format!("\n{line} {bar} (not shown: this line holds a secret)");
            return finish(out, problem, paint);
        }
        out += &format!("\n{line} {bar} {text}");
        out += &format!("\n{blank} {bar} {}{carets}{label}", " ".repeat(column - 1));
    }
    finish(out, problem, paint)
}

fn finish(mut out: String, problem: &Problem, paint: impl Fn(&str, &str) -> String) -> String {
    if !problem.help.is_empty() {
        out += &format!("\n  = {}: {}", paint("1", "help"), problem.help);
    }
    if !problem.code.is_empty() {
        out += &format!("\n  = {}: run `csf explain {}` for the usual causes", paint("1", "help"), problem.code);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use csf_runtime::config::{Location, Source};

    use super::*;

    #[test]
    fn a_line_with_a_secret_is_named_and_not_shown() {
        let source =
            Arc::new(Source { name: "csf.toml".to_owned(), text: "a = 1\npassword = \"hunter2\"\n".to_owned() });
        let problem = Problem::new("CSF-0119", "a secret").at(&Location::new(&source, 17..26)).confidential();
        let expected = [
            "error[CSF-0119]: a secret",
            " --> csf.toml:2:12",
            "2 | (not shown: this line holds a secret)",
            "  = help: run `csf explain CSF-0119` for the usual causes",
        ];
        assert_eq!(render(&problem, false), expected.join("\n"));
    }
}
