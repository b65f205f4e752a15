//! The step that measures an image.

use super::{Layer, Planner, params};
use crate::{
    Error,
    project::Targets,
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
        let mut step = Step::new(made.size.clone(), "size", size::VERSION, size::size)
            .from("root", made.slot.clone(), "root")
            .from("slot", made.slot.clone(), "slot")
            .from("uki", made.uki.clone(), "uki")
            .from("esp", made.esp.clone(), "esp")
            .from("config", made.config.clone(), "config")
            .at(format!("hv/{}.yml", self.target.flavour), None);
        // the same archive as in the EFI program
        if let Some(initrd) = self.graph.get(&made.uki).and_then(|uki| uki.inputs.get("initrd")) {
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
