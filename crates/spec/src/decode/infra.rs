//! Where replicas may run: `infra`, or the older `cloud`, `region` and `zone`.

use super::{Sink, string, unknown_word, word};
use crate::node::Node;

/// Clouds by the name that files use, and as SkyPilot shows them. `local` is this project's own:
/// the machine that the server runs on.
pub(crate) const CLOUDS: &[(&str, &str)] = &[
    ("aws", "AWS"),
    ("azure", "Azure"),
    ("gcp", "GCP"),
    ("ibm", "IBM"),
    ("lambda", "Lambda"),
    ("scp", "SCP"),
    ("oci", "OCI"),
    ("kubernetes", "Kubernetes"),
    ("runpod", "RunPod"),
    ("vast", "Vast"),
    ("vsphere", "vSphere"),
    ("cudo", "Cudo"),
    ("fluidstack", "Fluidstack"),
    ("paperspace", "Paperspace"),
    ("primeintellect", "PrimeIntellect"),
    ("do", "DO"),
    ("nebius", "Nebius"),
    ("ssh", "SSH"),
    ("slurm", "Slurm"),
    ("hyperbolic", "Hyperbolic"),
    ("seeweb", "Seeweb"),
    ("shadeform", "Shadeform"),
    ("yotta", "Yotta"),
    ("mithril", "Mithril"),
    ("verda", "Verda"),
    ("local", "Local"),
];

/// A place: each part `None` where any will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) cloud: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) zone: Option<String>,
}

impl Place {
    /// The canonical `infra` string; `None` for anywhere.
    pub(crate) fn infra(&self) -> Option<String> {
        let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "*".to_owned());
        let mut parts = vec![part(&self.cloud), part(&self.region), part(&self.zone)];
        while parts.last().is_some_and(|last| last == "*") {
            parts.pop();
        }
        (!parts.is_empty()).then(|| parts.join("/"))
    }
}

/// Splits `cloud[/region[/zone]]`; `None` when it is not of that form.
pub(crate) fn parse(infra: &str) -> Option<Place> {
    let mut parts = infra.split('/');
    let first = parts.next()?.to_ascii_lowercase();
    let rest: Vec<&str> = parts.collect();
    let cloud = match first.as_str() {
        "k8s" => "kubernetes",
        "*" => "*",
        name => CLOUDS
            .iter()
            .map(|(known, _)| *known)
            .find(|known| *known == name)?,
    };
    // A Kubernetes context and the name of an SSH pool may themselves hold slashes.
    let whole = matches!(cloud, "kubernetes" | "ssh");
    if rest.iter().any(|part| part.trim().is_empty()) || (!whole && rest.len() > 2) {
        return None;
    }
    let named = |text: String| Some(text).filter(|text| text != "*");
    let part = |at: usize| rest.get(at).and_then(|part| named(part.trim().to_owned()));
    let (region, zone) = match rest.as_slice() {
        [] => (None, None),
        _ if whole => (named(rest.join("/")), None),
        _ => (part(0), part(1)),
    };
    Some(Place {
        cloud: named(cloud.to_owned()),
        region,
        zone,
    })
}

/// Reads `infra`.
pub(crate) fn decode(sink: &mut Sink<'_>, node: &Node) -> Option<Place> {
    const PATH: &str = "resources.infra";
    let text = string(sink, node, PATH)?;
    let place = parse(text);
    if place.is_some() {
        return place;
    }
    let cloud = text.split('/').next().unwrap_or_default();
    if parse(cloud).is_none() {
        let names: Vec<&str> = CLOUDS.iter().map(|(name, _)| *name).collect();
        let near = crate::suggest::nearest(cloud, names.iter().copied());
        let message = match node.shown() {
            Some(_) => format!("`infra` names an unknown cloud: `{cloud}`"),
            None => "`infra` names an unknown cloud".to_owned(),
        };
        let help = near.map_or_else(
            || format!("known are {}", names.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        sink.error("unknown-value", node, PATH, message).help = Some(help);
        return None;
    }
    let message = "`infra` must be CLOUD, CLOUD/REGION or CLOUD/REGION/ZONE".to_owned();
    sink.error("invalid-value", node, PATH, message);
    None
}

/// Reads `cloud`.
pub(crate) fn cloud(sink: &mut Sink<'_>, node: &Node) -> Option<String> {
    const PATH: &str = "resources.cloud";
    let names: Vec<&str> = CLOUDS.iter().map(|(name, _)| *name).collect();
    if node
        .as_str()
        .is_some_and(|name| name.eq_ignore_ascii_case("k8s"))
    {
        unknown_word(sink, node, PATH, &["kubernetes"]);
        return None;
    }
    word(sink, node, PATH, &names).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(infra: &str) -> Option<Option<String>> {
        parse(infra).map(|place| place.infra())
    }

    #[test]
    fn infra_has_one_canonical_spelling() {
        for (written, expected) in [
            ("AWS", Some("aws")),
            ("aws/us-east-1/*", Some("aws/us-east-1")),
            ("gcp/*/us-central1-a", Some("gcp/*/us-central1-a")),
            ("*/us-east-1", Some("*/us-east-1")),
            ("*", None),
            (
                "k8s/arn:aws:eks:eu:1:cluster/mine",
                Some("kubernetes/arn:aws:eks:eu:1:cluster/mine"),
            ),
            ("local", Some("local")),
        ] {
            assert_eq!(
                canonical(written),
                Some(expected.map(ToOwned::to_owned)),
                "{written}"
            );
        }
        for written in ["", "nocloud/x", "aws/", "aws//x", "aws/a/b/c", "k8s/"] {
            assert_eq!(canonical(written), None, "{written}");
        }
    }
}
