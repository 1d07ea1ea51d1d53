//! The `capn` command.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// The C library's allocator keeps the memory used while starting a plane; this one returns it. Its
/// settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    capn::tell_of_defects();
    capn::run(std::env::args_os(), capn::Environment::from_process(), capn::Ui::terminal).into()
}
