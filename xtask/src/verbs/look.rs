//! `plan`, `explain`, `replay`: looking at the graph.

use super::{image::LIVE, modules};
use crate::{
    cli::{Common, Plan, Step, Target},
    exit::Exit,
    failure::Failure,
    session::Session,
};
use graph::{Graph, Options, Planned, State};
use steps::Targets;

fn graph(session: &Session, target: &Target) -> Result<(Graph, Targets), Failure> {
    let target = steps::Target { flavour: target.hv, arch: target.arch };
    Ok(modules::as_known(session, &session.project()?, &[target])?.plan(LIVE, target)?)
}

/// Prints the steps that would run, with reasons and images.
pub(crate) fn plan(common: &Common, args: &Plan) -> Result<(), Failure> {
    let session = Session::open(common)?;
    let project = session.project()?;
    let wanted = args.images.targets(&project.defs);
    let project = modules::as_known(&session, &project, &wanted)?;
    let (graph, images) = project.plan_all(LIVE, &wanted)?;
    let all: Vec<_> = images.iter().flat_map(|(_, steps)| steps.all()).collect();
    let plan = graph.plan(&session.cache, &all)?;
    let mut of_image = Vec::new();
    for (target, steps) in &images {
        of_image.push((target, graph.needed(&steps.all())?));
    }
    let images_of = |step: &Planned| -> Vec<&steps::Target> {
        of_image.iter().filter(|(_, needed)| needed.contains(&step.id)).map(|(target, _)| *target).collect()
    };
    if args.json {
        let mut steps = serde_json::to_value(&plan.steps)?;
        for (shown, step) in steps.as_array_mut().into_iter().flatten().zip(&plan.steps) {
            shown["images"] = images_of(step).iter().map(ToString::to_string).collect();
        }
        println!("{}", serde_json::to_string_pretty(&serde_json::json!({ "steps": steps }))?);
        return Ok(());
    }
    let (mut several, mut both) = (0, 0);
    for step in &plan.steps {
        let images = images_of(step);
        let shared = images.len() > 1;
        several += usize::from(shared);
        both += usize::from(images.iter().any(|t| t.arch != images[0].arch));
        if common.verbose || !matches!(step.state, State::Cached { .. }) {
            println!("{step}");
            if shared {
                println!("    for {}", images.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
            }
        }
    }
    println!("{} of {} cached", plan.cached(), types::count(plan.steps.len(), "step"));
    if wanted.len() > 1 {
        println!("for several images: {several}; for both architectures: {both}");
    }
    Ok(())
}

/// Prints why one step would run, deepest cause first.
pub(crate) fn explain(common: &Common, args: &Step) -> Result<(), Failure> {
    let session = Session::open(common)?;
    let (graph, targets) = graph(&session, &args.target)?;
    let plan = graph.plan(&session.cache, &targets.all())?;
    let id = args.step.as_str().into();
    let causes = plan.causes(&id);
    if plan.get(&id).is_none() {
        return Err(Failure::new(
            Exit::Usage,
            format!("no step `{}` in this image: see `cargo xtask plan -v`", args.step),
        ));
    }
    if causes.is_empty() {
        println!("{} is cached", args.step);
    }
    for cause in causes {
        println!("{cause}");
    }
    Ok(())
}

/// Runs one step again and compares its outputs with the cached ones.
pub(crate) fn replay(common: &Common, args: &Step) -> Result<(), Failure> {
    let session = Session::open(common)?;
    let target = steps::Target { flavour: args.target.hv, arch: args.target.arch };
    let project = modules::signed(&session, &session.project()?, &[target])?;
    let (graph, targets) = project.plan(LIVE, target)?;
    session.build(&project, &graph, &targets.all())?;
    let options = Options { jobs: session.jobs, ..Options::default() };
    let id = args.step.as_str().into();
    let replay = graph.replay(&session.cache, &id, &options, &session.events, &session.cancel)?;
    for output in &replay.outputs {
        let digest = |o: Option<graph::Output>| o.map_or_else(|| "nothing".to_owned(), |o| o.digest.to_string());
        let same = if output.before == output.after { "same" } else { "DIFFERENT" };
        println!("{same} {}: {} before, {} now", output.name, digest(output.before), digest(output.after));
    }
    if replay.same() {
        Ok(())
    } else {
        Err(Failure::new(Exit::Check, format!("{} did not make the same bytes again", args.step)))
    }
}
