//! Developer tasks.

mod bench_proxy;
mod generate;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["generate"] => generate::write(),
        ["generate", "--check"] => generate::check(),
        ["bench-proxy", options @ ..] => bench_proxy::run(options),
        _ => anyhow::bail!("usage: cargo xtask generate [--check] | bench-proxy [OPTIONS]"),
    }
}
