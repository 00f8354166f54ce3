//! `csf explain CSF-nnnn`: the error pages of `docs/errors`, in the binary.

use std::process::ExitCode;

use serde_json::json;

use super::{Outcome, print_json};
use crate::cli::Explain;
use crate::diagnostic::Failure;

macro_rules! pages {
    ($($code:literal),* $(,)?) => {
        &[$(($code, include_str!(concat!("../../../../docs/errors/", $code, ".md")))),*]
    };
}

/// Every code with its page.
const PAGES: &[(&str, &str)] = pages![
    "CSF-0101", "CSF-0102", "CSF-0103", "CSF-0104", "CSF-0105", "CSF-0106", "CSF-0107", "CSF-0108", "CSF-0109",
    "CSF-0110", "CSF-0111", "CSF-0112", "CSF-0113", "CSF-0114", "CSF-0115", "CSF-0116", "CSF-0117", "CSF-0118",
    "CSF-0119", "CSF-0120", "CSF-0121", "CSF-0122", "CSF-0201", "CSF-0202", "CSF-0203", "CSF-0204", "CSF-0205",
    "CSF-0206", "CSF-0207", "CSF-0208", "CSF-0209", "CSF-0210", "CSF-0211", "CSF-0212", "CSF-0213", "CSF-0214",
    "CSF-0215", "CSF-0216", "CSF-0217", "CSF-0220", "CSF-0299", "CSF-0301", "CSF-0302", "CSF-0303", "CSF-0304",
    "CSF-0305", "CSF-0306", "CSF-0307", "CSF-0308", "CSF-0309", "CSF-0310", "CSF-0311", "CSF-0312", "CSF-0313",
    "CSF-0314", "CSF-0315", "CSF-0316", "CSF-0401", "CSF-0402", "CSF-0403", "CSF-0404", "CSF-0405", "CSF-0501",
    "CSF-0601", "CSF-0602", "CSF-0603", "CSF-0701", "CSF-0702", "CSF-0703", "CSF-0704", "CSF-0705", "CSF-0706",
    "CSF-0707", "CSF-0708",
];

/// The static form of a code that a node sent; empty when this build does not know it.
pub(crate) fn known_code(code: &str) -> &'static str {
    PAGES.iter().map(|(known, _)| *known).find(|known| *known == code).unwrap_or("")
}

pub(crate) fn run(args: &Explain) -> Outcome {
    let title = |page: &str| page.lines().next().unwrap_or("").trim_start_matches("# ").to_owned();
    let Some(code) = &args.code else {
        if args.json {
            let list: Vec<_> = PAGES.iter().map(|(code, page)| json!({ "code": code, "title": title(page) })).collect();
            return print_json(&list);
        }
        for (_, page) in PAGES {
            println!("{}", title(page));
        }
        return Ok(ExitCode::SUCCESS);
    };
    let wanted = code.to_ascii_uppercase();
    let Some((code, page)) = PAGES.iter().find(|(known, _)| *known == wanted) else {
        let near = csf_runtime::config::closest(&wanted, PAGES.iter().map(|(c, _)| *c)).unwrap_or("CSF-0101");
        return Err(Failure::new(
            "",
            format!("there is no code `{code}`; did you mean `{near}`? `csf explain` lists all"),
        ));
    };
    if args.json {
        return print_json(&json!({ "code": code, "title": title(page), "text": page }));
    }
    print!("{page}");
    Ok(ExitCode::SUCCESS)
}
