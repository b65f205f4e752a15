//! `size`: what an image is made of, in bytes.

use super::modules;
use crate::{
    cli::{Common, Size},
    failure::Failure,
    session::Session,
};
use size::Depth;

/// Builds the image where needed and shows its sizes, whether it keeps to its budgets or not.
pub(crate) fn size(common: &Common, args: &Size) -> Result<(), Failure> {
    let session = Session::open(common)?;
    let target = steps::Target { flavour: args.target.hv, arch: args.target.arch };
    let project = modules::signed(&session, &session.project()?, &[target])?;
    let (graph, targets) = project.plan(target)?;
    let built = session.build(&project, &graph, &targets.all())?;
    let report = steps::report(&project, target, &session.cache, &targets, &built)?;
    if let Some(file) = &args.html {
        std::fs::write(file, size::page(&report)?)?;
        println!("{}", file.display());
    } else if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", size::text(&report, Depth { levels: args.depth, parts: args.parts }));
    }
    Ok(())
}
