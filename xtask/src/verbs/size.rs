//! `size`: the sizes of an image's parts.

use super::{image::LIVE, modules};
use crate::{
    cli::{Common, Size},
    failure::Failure,
    session::Session,
};
use size::Depth;

/// Builds the image if needed and shows its sizes, also if it exceeds its budgets.
pub(crate) fn size(common: &Common, args: &Size) -> Result<(), Failure> {
    let session = Session::open(common)?;
    let target = steps::Target { flavour: args.target.hv, arch: args.target.arch };
    let project = modules::signed(&session, &session.project()?, &[target])?;
    let (graph, targets) = project.plan(LIVE, target)?;
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
