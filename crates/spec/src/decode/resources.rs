//! `resources`: every alternative, each with the common fields filled in.

use serde_json::{Map, Value as Json};

use super::{Nulls, Section, Sink, accelerators, amount, boolean, infra, ports, string, word};
use crate::node::{Node, Value};
use crate::task::{Choice, ResourceCandidate, Resources};

mod extras;

pub(crate) use extras::strings;

/// Most alternatives of one task, counted with one for each accelerator.
pub(crate) const MAX_ALTERNATIVES: usize = 256;

/// Default of `disk_size`, in GB.
pub(crate) const DEFAULT_DISK_SIZE_GB: u64 = 256;

/// The alternatives, and where each was written, for the rules that come after.
pub(crate) struct Decoded<'n> {
    pub(crate) resources: Resources,
    pub(crate) places: Vec<Written<'n>>,
}

/// Where the parts of one alternative were written.
#[derive(Clone, Copy)]
pub(crate) struct Written<'n> {
    /// The alternative, or `resources` itself.
    pub(crate) at: Option<&'n Node>,
    pub(crate) ports: Option<&'n Node>,
    pub(crate) use_spot: Option<&'n Node>,
    /// Whether `ports` could be read.
    pub(crate) ports_valid: bool,
}

/// Fields of an alternative with those beside `any_of` or `ordered`: the alternative's own win.
struct Merged<'n> {
    at: &'n Node,
    fields: Vec<(&'n str, &'n Node)>,
    /// Whether the fields may be written as inside an alternative only.
    item: bool,
    base_labels: Option<&'n Node>,
}

impl<'n> Merged<'n> {
    fn get(&self, key: &str) -> Option<&'n Node> {
        self.fields
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, node)| *node)
    }
}

/// Reads `resources`; absent means one alternative that asks for nothing.
pub(crate) fn decode<'n>(
    sink: &mut Sink<'_>,
    node: Option<&'n Node>,
    for_service: bool,
) -> Decoded<'n> {
    let nothing = Decoded {
        resources: Resources {
            choice: Choice::Single,
            candidates: vec![anything()],
        },
        places: vec![Written {
            at: node,
            ports: None,
            use_spot: None,
            ports_valid: true,
        }],
    };
    let Some(node) = node.filter(|node| !node.is_null()) else {
        return nothing;
    };
    let Some(section) = Section::open(sink, node, "resources", Nulls::Absent) else {
        return Decoded {
            places: vec![Written {
                ports_valid: false,
                ..nothing.places[0]
            }],
            ..nothing
        };
    };
    refuse_misplaced(sink, &section, for_service);
    let base = merge(sink, &section, None);
    let any_of = alternatives(sink, &section, "any_of", for_service);
    let ordered = alternatives(sink, &section, "ordered", for_service);
    if let (Some(_), Some(_), Some(at)) = (&any_of, &ordered, section.get("ordered")) {
        let message = "`any_of` and `ordered` cannot be written together";
        sink.error("conflict", at, "resources.ordered", message);
    }
    let (choice, items) = match (any_of, ordered) {
        (Some(items), _) if !items.is_empty() => (Choice::AnyOf, items),
        (_, Some(items)) if !items.is_empty() => (Choice::Ordered, items),
        _ => (Choice::Single, Vec::new()),
    };
    let mut decoded = Decoded {
        resources: Resources {
            choice,
            candidates: Vec::new(),
        },
        places: Vec::new(),
    };
    if items.is_empty() {
        decoded.resources.choice = expand(sink, &base, &mut decoded).unwrap_or(Choice::Single);
    } else {
        refuse_listed_accelerators(sink, &base, choice);
        // Reading the common fields alone reports what is wrong with those that every alternative
        // overrides.
        let mut unused = Decoded {
            resources: Resources {
                choice,
                candidates: Vec::new(),
            },
            places: Vec::new(),
        };
        expand(sink, &base, &mut unused);
        for item in &items {
            let merged = merge(sink, item, Some(&base));
            expand(sink, &merged, &mut decoded);
        }
    }
    decoded
}

fn anything() -> ResourceCandidate {
    ResourceCandidate {
        disk_size: DEFAULT_DISK_SIZE_GB,
        ..ResourceCandidate::default()
    }
}

fn refuse_misplaced(sink: &mut Sink<'_>, section: &Section<'_>, for_service: bool) {
    if let Some(hooks) = section.node.get("hooks") {
        let message = "hooks live under `config.hooks`, not `resources.hooks`";
        sink.error("misplaced", hooks, "config.hooks", message).help =
            Some("move the list to `config.hooks` at the top level".to_owned());
    }
    let Some(recovery) = section.get("job_recovery") else {
        return;
    };
    let strategy = match &recovery.value {
        Value::Str(_) => Some(recovery),
        Value::Map(_) => recovery.get("strategy"),
        _ => {
            sink.wrong_type(recovery, "resources.job_recovery", "a string or a mapping");
            return;
        }
    };
    if for_service && strategy.and_then(Node::as_str) != Some("none") {
        let message =
            "`job_recovery` cannot be set for a service, which replaces lost replicas itself";
        sink.error(
            "not-for-services",
            recovery,
            "resources.job_recovery",
            message,
        )
        .help = Some("remove it".to_owned());
    }
}

/// Opens the items of `any_of` or `ordered`.
fn alternatives<'n>(
    sink: &mut Sink<'_>,
    section: &Section<'n>,
    key: &str,
    for_service: bool,
) -> Option<Vec<Section<'n>>> {
    let node = section.get(key)?;
    let path = section.path_of(key);
    let Value::Seq(items) = &node.value else {
        sink.wrong_type(node, &path, "a list of mappings");
        return Some(Vec::new());
    };
    if items.len() > MAX_ALTERNATIVES {
        let message = format!("`{key}` has more than {MAX_ALTERNATIVES} alternatives");
        sink.error("too-many-alternatives", node, &path, message);
        return Some(Vec::new());
    }
    let mut sections = Vec::new();
    for item in items {
        let Some(section) = Section::open(sink, item, "resources", Nulls::Values) else {
            continue;
        };
        refuse_misplaced(sink, &section, for_service);
        for nested in ["any_of", "ordered"] {
            if let Some(at) = section.get(nested) {
                let message = format!("`{nested}` cannot be written inside an alternative");
                sink.error("nested-alternatives", at, &path, message);
            }
        }
        for entry in section.entries() {
            let name = entry.key.as_str().unwrap_or_default();
            if entry.value.is_null() && !matches!(name, "ports" | "image_id") {
                sink.wrong_type(
                    &entry.value,
                    &section.path_of(name),
                    "given a value in an alternative",
                );
            }
        }
        sections.push(section);
    }
    Some(sections)
}

/// Joins an alternative with the common fields, or takes the common fields alone.
fn merge<'n>(sink: &mut Sink<'_>, section: &Section<'n>, base: Option<&Merged<'n>>) -> Merged<'n> {
    let mut fields: Vec<(&'n str, &'n Node)> = Vec::new();
    for entry in section.entries() {
        let Some(name) = entry.key.as_str() else {
            continue;
        };
        let name = if name == "gpus" { "accelerators" } else { name };
        if fields.iter().any(|(known, _)| *known == name) {
            let message = "`gpus` and `accelerators` are two names of one field; write one of them";
            sink.error("conflict", &entry.value, "resources.gpus", message);
        } else {
            fields.push((name, &entry.value));
        }
    }
    let inherited = base.map_or(&[][..], |base| base.fields.as_slice());
    for (name, node) in inherited {
        if !fields.iter().any(|(known, _)| known == name) {
            fields.push((name, node));
        }
    }
    fields.retain(|(name, node)| !node.is_null() && !matches!(*name, "any_of" | "ordered"));
    Merged {
        at: section.node,
        fields,
        item: base.is_some(),
        base_labels: base.and_then(|base| base.get("labels")),
    }
}

fn refuse_listed_accelerators(sink: &mut Sink<'_>, base: &Merged<'_>, choice: Choice) {
    let Some(node) = base.get("accelerators") else {
        return;
    };
    let several = match &node.value {
        Value::Seq(items) => items.len() > 1,
        Value::Map(entries) => entries.len() > 1 && choice == Choice::Ordered,
        _ => false,
    };
    if several {
        let with = if choice == Choice::Ordered {
            "ordered"
        } else {
            "any_of"
        };
        let message =
            format!("several accelerators in `accelerators` cannot be combined with `{with}`");
        sink.error("conflict", node, "resources.accelerators", message)
            .help = Some("name the accelerators in the alternatives".to_owned());
    }
}

/// Adds one candidate per accelerator.
fn expand<'n>(sink: &mut Sink<'_>, merged: &Merged<'n>, into: &mut Decoded<'n>) -> Option<Choice> {
    let mut candidate = anything();
    location(sink, merged, &mut candidate);
    let ports_valid = amounts(sink, merged, &mut candidate);
    extras::decode(sink, merged, &mut candidate);
    let written = Written {
        at: Some(merged.at),
        ports: merged.get("ports"),
        use_spot: merged.get("use_spot"),
        ports_valid,
    };
    let mut choice = Choice::Single;
    let mut wanted: Vec<Option<accelerators::Accelerator>> = vec![None];
    if let Some(node) = merged.get("accelerators") {
        // Common accelerators may be several even when alternatives inherit them.
        let own = merged.item
            && merged.at.entries().is_some_and(|entries| {
                entries
                    .iter()
                    .any(|entry| std::ptr::eq(&raw const entry.value, node))
            });
        if let Some((found, kind)) = accelerators::decode(sink, node, own) {
            // A list keeps its order even when it names one; one name alone is no choice.
            choice = if kind == Choice::AnyOf && found.len() == 1 {
                Choice::Single
            } else {
                kind
            };
            wanted = found.into_iter().map(Some).collect();
        }
    }
    if into.resources.candidates.len() + wanted.len() > MAX_ALTERNATIVES {
        let message = format!("`resources` has more than {MAX_ALTERNATIVES} alternatives");
        sink.error("too-many-alternatives", merged.at, "resources", message);
        return Some(choice);
    }
    for accelerator in wanted {
        let mut candidate = candidate.clone();
        if let Some((name, _)) = &accelerator {
            settle_tpu(sink, merged, name, &mut candidate);
        }
        candidate.accelerators = accelerator;
        into.resources.candidates.push(candidate);
        into.places.push(written);
    }
    Some(choice)
}

fn location(sink: &mut Sink<'_>, merged: &Merged<'_>, candidate: &mut ResourceCandidate) {
    let mut place = infra::Place::default();
    let older = ["cloud", "region", "zone"]
        .into_iter()
        .find(|key| merged.get(key).is_some());
    if let Some(node) = merged.get("infra") {
        if let Some(key) = older {
            let message = format!("`infra` and `{key}` cannot be written together");
            let at = merged.get(key).unwrap_or(node);
            sink.error("conflict", at, "resources.infra", message).help =
                Some("write all of it as `infra: CLOUD/REGION/ZONE`".to_owned());
        }
        place = infra::decode(sink, node).unwrap_or_default();
    } else {
        place.cloud = merged
            .get("cloud")
            .and_then(|node| infra::cloud(sink, node));
        for (key, part) in [("region", &mut place.region), ("zone", &mut place.zone)] {
            let path = format!("resources.{key}");
            let text = merged.get(key).and_then(|node| string(sink, node, &path));
            *part = text.filter(|text| !text.is_empty()).map(ToOwned::to_owned);
        }
    }
    candidate.infra = place.infra();
    (candidate.cloud, candidate.region, candidate.zone) = (place.cloud, place.region, place.zone);
}

/// Reads what has an amount. Answers whether `ports` could be read.
fn amounts(sink: &mut Sink<'_>, merged: &Merged<'_>, candidate: &mut ResourceCandidate) -> bool {
    candidate.cpus = merged
        .get("cpus")
        .and_then(|node| amount::cpus(sink, node, "resources.cpus"));
    candidate.memory = merged
        .get("memory")
        .and_then(|node| amount::memory(sink, node, "resources.memory"));
    if let Some(size) = merged
        .get("disk_size")
        .and_then(|node| amount::disk_size(sink, node, "resources.disk_size"))
    {
        candidate.disk_size = size;
    }
    if let Some(node) = merged.get("use_spot")
        && let Some(spot) = boolean(sink, node, "resources.use_spot")
    {
        candidate.use_spot = spot;
        candidate.use_spot_specified = true;
    }
    let instance_type = merged
        .get("instance_type")
        .and_then(|node| string(sink, node, "resources.instance_type"));
    candidate.instance_type = instance_type.map(ToOwned::to_owned);
    let mut tier = |key: &str, words: &[&'static str]| {
        let node = merged.get(key)?;
        word(sink, node, &format!("resources.{key}"), words).map(ToOwned::to_owned)
    };
    candidate.disk_tier = tier("disk_tier", &["low", "medium", "high", "ultra", "best"]);
    candidate.network_tier = tier("network_tier", &["standard", "best"]);
    let Some(node) = merged.get("ports") else {
        return true;
    };
    let ports = ports::decode(sink, node);
    let valid = ports.is_some();
    candidate.ports = ports.unwrap_or_default();
    valid
}

/// TPUs exist on GCP and, under other names, on Kubernetes; naming one settles the cloud.
fn settle_tpu(
    sink: &mut Sink<'_>,
    merged: &Merged<'_>,
    name: &str,
    candidate: &mut ResourceCandidate,
) {
    const ON_KUBERNETES: &[&str] = &[
        "tpu-v4-podslice",
        "tpu-v5-lite-device",
        "tpu-v5-lite-podslice",
        "tpu-v5p-slice",
        "tpu-v6e-slice",
        "tpu7x",
    ];
    if !name.to_ascii_lowercase().contains("tpu") {
        return;
    }
    match candidate.cloud.as_deref() {
        Some("gcp" | "kubernetes") => {}
        None => {
            let cloud = if ON_KUBERNETES.contains(&name) {
                "kubernetes"
            } else {
                "gcp"
            };
            let place = infra::Place {
                cloud: Some(cloud.to_owned()),
                region: candidate.region.clone(),
                zone: candidate.zone.clone(),
            };
            candidate.infra = place.infra();
            candidate.cloud = place.cloud;
        }
        Some(_) => {
            let at = merged.get("accelerators").unwrap_or(merged.at);
            let message = "TPUs exist on GCP and Kubernetes only";
            sink.error("conflict", at, "resources.accelerators", message);
        }
    }
}

/// Merged labels: the alternative's own win.
fn labels<'n>(merged: &Merged<'n>) -> impl Iterator<Item = &'n Node> {
    let own = merged.get("labels");
    let base = merged
        .base_labels
        .filter(|base| !own.is_some_and(|own| std::ptr::eq(*base, own)));
    base.into_iter().chain(own)
}

/// Adds a value to the fields that are kept as they are.
fn keep(other: &mut Map<String, Json>, key: &str, value: Option<Json>) {
    if let Some(value) = value {
        other.insert(key.to_owned(), value);
    }
}
