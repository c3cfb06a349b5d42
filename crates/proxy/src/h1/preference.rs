//! By what a request prefers a replica: its side of a split, its session, its prompt.

use balance::PrefixChain;
use balance::prompt::extract;

use super::connection::Client;
use super::request::Request;
use crate::endpoint::{Affinity, Endpoint};
use crate::split::{Side, Wish};
use crate::stream::Stream;

/// So much of a body, or all of it, is looked at for a prompt.
const PROMPT_BYTES: usize = 48 * 1024;

/// See the module.
pub(super) struct Preference {
    pub(super) side: Side,
    affinity: Preferred,
}

enum Preferred {
    Any,
    Session(u64),
    Prompt(Box<PrefixChain>),
}

impl Preference {
    /// The side is drawn here, once for a request.
    pub(super) async fn of<S: Stream>(
        client: &mut Client<S>,
        request: &Request,
        endpoint: &Endpoint,
    ) -> Self {
        let (affinity, session) = Preferred::of(client, request, endpoint).await;
        Self {
            side: endpoint.side(request.is_wished, session),
            affinity,
        }
    }

    /// What it asks of the choice.
    pub(super) fn wish(&self) -> Wish<'_> {
        let affinity = match &self.affinity {
            Preferred::Any => Affinity::None,
            Preferred::Session(hash) => Affinity::Session(*hash),
            Preferred::Prompt(chain) => Affinity::Prompt(chain),
        };
        Wish {
            side: self.side,
            affinity,
        }
    }
}

impl Preferred {
    /// With it comes the hash of what stays on one side of a split. For `prefix_affinity` this waits for the beginning of
    /// the body.
    async fn of<S: Stream>(
        client: &mut Client<S>,
        request: &Request,
        endpoint: &Endpoint,
    ) -> (Self, Option<u64>) {
        if let Some(session) = request.session {
            return (Self::Session(session), Some(session));
        }
        let view = endpoint.view();
        let (true, Some(length)) = (view.published.roster.is_some(), request.content_length) else {
            return (Self::Any, None);
        };
        let path = request
            .target()
            .split(|byte| *byte == b'?')
            .next()
            .unwrap_or_default();
        let Ok(path) = std::str::from_utf8(path) else {
            return (Self::Any, None);
        };
        let prompt = if request.body.has_ended() {
            extract(request.whole_body(), path)
        } else if request.expects_continue {
            None
        } else {
            let wanted = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .min(PROMPT_BYTES);
            Box::pin(client.gather(wanted)).await;
            let body = client.input.bytes();
            extract(body.get(..wanted).unwrap_or(body), path)
        };
        prompt.map_or((Self::Any, None), |prompt| {
            let is_split = view.published.groups.is_some();
            let conversation = prompt.conversation().filter(|_| is_split);
            let chain = Box::new(PrefixChain::new(&prompt));
            (Self::Prompt(chain), conversation)
        })
    }
}
