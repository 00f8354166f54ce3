//! `csf`: the one binary of ChronoFabric.

fn main() -> std::process::ExitCode {
    csf::main_with(Vec::new())
}
