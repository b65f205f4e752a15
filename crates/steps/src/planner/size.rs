//! The step that measures an image.

use super::{Layer, Planner, params};
use crate::{
    Error,
    project::{Part, Targets},
    size::{self, LayerOf, Size},
    slot::Image,
};
use graph::{Step, StepId};
use std::collections::BTreeMap;

impl Planner<'_> {
    /// The tree of sizes of the targets' outputs: output `tree`.
    pub(super) fn size(
        &mut self,
        images: &[Image],
        layers: &BTreeMap<String, Layer>,
        made: &Targets,
    ) -> Result<StepId, Error> {
        let mut step = Step::new(self.flavoured("size"), "size", size::VERSION, size::size)
            .at(format!("hv/{}.yml", self.target.flavour), None);
        for (name, part) in [
            ("root", Part::Root),
            ("slot", Part::Slot),
            ("uki", Part::Uki),
            ("esp", Part::Esp),
            ("config", Part::Config),
        ] {
            let (from, output) = made.part(part)?;
            step = step.from(name, from.clone(), output);
        }
        // the same archive as in the EFI program
        if let Some(initrd) = self.graph.get(made.part(Part::Uki)?.0).and_then(|uki| uki.inputs.get("initrd")) {
            step = step.input("initrd", initrd.clone());
        }
        let mut size = Size::default();
        for (name, layer) in layers {
            step = step.from(format!("erofs/{name}"), layer.erofs.clone(), "erofs");
            if layer.of_debs {
                step = step.from(format!("origins/{name}"), layer.tar.clone(), "origins");
            }
            let holding = images.iter().filter(|image| image.layers.contains(name)).map(|image| short(&image.name));
            let of = LayerOf { name: name.clone(), images: holding.map(str::to_owned).collect() };
            size.components.entry(layer.owner.clone()).or_default().push(of);
        }
        self.add(params(step, &size))
    }
}

/// `kube` of `evek.local/kube:0.1.0`.
fn short(image: &str) -> &str {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split(':').next().unwrap_or(name)
}
