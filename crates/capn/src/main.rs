//! The `capn` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    capn::run(std::env::args_os(), capn::Environment::from_process(), capn::Ui::terminal).into()
}
