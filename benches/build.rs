//! Notes the compiler's version, which every run prints beside its figures.
fn main() {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = std::process::Command::new(compiler).arg("--version").output();
    let version = version.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
    println!("cargo::rustc-env=CSF_BENCH_RUSTC={version}");
    println!("cargo::rerun-if-changed=build.rs");
}
