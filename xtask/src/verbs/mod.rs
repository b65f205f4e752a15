//! The verbs: one file for each verb or family of verbs.

mod app;
mod bench;
mod check;
mod debug;
mod doctor;
mod flash;
mod help_make;
mod image;
mod keys;
mod lock;
mod look;
mod modules;
mod publish;
mod run;
mod schema;
mod size;
mod test;
mod tidy;
mod tools;
mod verify;

use crate::{
    cli::{Cli, Verb},
    failure::Failure,
};

/// Runs the verb of the command line.
pub(crate) fn run(cli: &Cli) -> Result<(), Failure> {
    let common = &cli.common;
    match &cli.verb {
        Verb::Image(images) => image::images(common, images),
        Verb::Oci { target, dir } => image::oci(common, target, dir),
        Verb::Publish(args) => publish::publish(common, args),
        Verb::Size(args) => size::size(common, args),
        Verb::Flash(args) => flash::flash(args),
        Verb::Verify(args) => verify::verify(common, args),
        Verb::Run(run) => run::run(common, run),
        Verb::Test(test) => test::test(common, test),
        Verb::Check => check::check(),
        Verb::Bench => bench::bench(common),
        Verb::Plan(plan) => look::plan(common, plan),
        Verb::Explain(step) => look::explain(common, step),
        Verb::Replay(step) => look::replay(common, step),
        Verb::Lock(verb) => lock::run(common, verb),
        Verb::Keys(verb) => keys::run(common, verb),
        Verb::Debug(verb) => debug::run(common, verb),
        Verb::App(verb) => app::run(verb),
        Verb::Doctor => doctor::doctor(common),
        Verb::Gc { size, verify } => tidy::gc(common, *size, *verify),
        Verb::Schema { out, reference } => schema::schema(out, *reference),
        Verb::Clean => tidy::clean(),
        Verb::HelpMake => help_make::help(),
    }
}
