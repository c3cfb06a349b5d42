//! `Workload`: made-up conversations.

/// Numbers that look random: splitmix64.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn between(&mut self, least: usize, most: usize) -> usize {
        least + (self.next() % (most - least + 1) as u64) as usize
    }

    /// Exponentially distributed.
    fn pause(&mut self, mean: f64) -> u64 {
        let uniform = ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        (-uniform.ln() * mean) as u64
    }

    fn tokens(&mut self, count: usize) -> Vec<u16> {
        (0..count).map(|_| (self.next() >> 48) as u16).collect()
    }
}

pub(crate) struct Workload {
    pub(crate) description: &'static str,
    conversations: usize,
    /// Mean microseconds from one beginning to the next.
    pause_between: f64,
    system_prompts: usize,
    system_tokens: (usize, usize),
    turns: (usize, usize),
    question_tokens: (usize, usize),
    reply_tokens: (usize, usize),
    /// Mean microseconds from an answer to the next question.
    thinking: f64,
}

impl Workload {
    /// People who talk with assistants.
    pub(crate) fn chat() -> Self {
        Self {
            description: "Chat: 3,000 conversations of 2 to 14 turns, 20 system prompts of 100 to 1,500 tokens",
            conversations: 3000,
            pause_between: 400_000.0,
            system_prompts: 20,
            system_tokens: (100, 1500),
            turns: (2, 14),
            question_tokens: (20, 300),
            reply_tokens: (50, 400),
            thinking: 20e6,
        }
    }

    /// Programs that ask once or twice with long instructions.
    pub(crate) fn agents() -> Self {
        Self {
            description: "Agents: 12,000 conversations of 1 or 2 turns, 60 system prompts of 1,000 to 6,000 tokens",
            conversations: 12_000,
            pause_between: 60_000.0,
            system_prompts: 60,
            system_tokens: (1000, 6000),
            turns: (1, 2),
            question_tokens: (50, 400),
            reply_tokens: (20, 200),
            thinking: 1e6,
        }
    }

    pub(crate) fn conversations(&self, seed: u64) -> Vec<Conversation> {
        let mut random = Random(seed);
        let prompts: Vec<Vec<u16>> = (0..self.system_prompts)
            .map(|_| {
                let (least, most) = self.system_tokens;
                let count = random.between(least, most);
                random.tokens(count)
            })
            .collect();
        let mut begins = 0;
        (0..self.conversations)
            .map(|number| {
                begins += random.pause(self.pause_between);
                // A few system prompts are used by many: the k-th one 1/k as often as the first.
                let rank = (self.system_prompts as f64)
                    .powf((random.next() >> 11) as f64 / (1_u64 << 53) as f64);
                self.conversation(&prompts[rank as usize - 1], number, begins, &mut random)
            })
            .collect()
    }

    fn conversation(
        &self,
        system: &[u16],
        number: usize,
        begins: u64,
        random: &mut Random,
    ) -> Conversation {
        let turns = (0..random.between(self.turns.0, self.turns.1))
            .map(|_| {
                let question = random.between(self.question_tokens.0, self.question_tokens.1);
                let reply = random.between(self.reply_tokens.0, self.reply_tokens.1);
                Turn {
                    question: random.tokens(question),
                    reply: random.tokens(reply),
                    pause: random.pause(self.thinking),
                }
            })
            .collect();
        let mut conversation = Conversation {
            session: format!("session-{number}"),
            begins,
            tokens: system.to_vec(),
            messages: message("system", system),
            turns,
            at: 0,
        };
        conversation.ask();
        conversation
    }
}

struct Turn {
    question: Vec<u16>,
    reply: Vec<u16>,
    pause: u64,
}

pub(crate) struct Conversation {
    pub(crate) session: String,
    /// In microseconds.
    pub(crate) begins: u64,
    /// All of the prompt at this turn.
    pub(crate) tokens: Vec<u16>,
    /// The same as JSON.
    messages: String,
    turns: Vec<Turn>,
    at: usize,
}

impl Conversation {
    pub(crate) fn body(&self) -> String {
        let messages = &self.messages;
        format!(r#"{{"model":"chat","messages":[{messages}],"stream":true,"temperature":0.7}}"#)
    }

    pub(crate) fn reply(&self) -> &[u16] {
        &self.turns[self.at].reply
    }

    /// Adds the reply and the next question; returns the pause before it, or `None` at the end.
    pub(crate) fn go_on(&mut self) -> Option<u64> {
        let turn = self.turns.get(self.at)?;
        let pause = turn.pause;
        self.tokens.extend(&turn.reply);
        self.messages.push(',');
        self.messages += &message("assistant", &turn.reply);
        self.at += 1;
        self.turns.get(self.at)?;
        self.messages.push(',');
        self.ask();
        Some(pause)
    }

    fn ask(&mut self) {
        if let Some(turn) = self.turns.get(self.at) {
            self.tokens.extend(&turn.question);
            if self.at == 0 {
                self.messages.push(',');
            }
            self.messages += &message("user", &turn.question);
        }
    }
}

/// A token is four bytes of text.
fn message(role: &str, tokens: &[u16]) -> String {
    let text: String = tokens
        .iter()
        .map(|token| format!("{:03x} ", token & 0xfff))
        .collect();
    format!(r#"{{"role":"{role}","content":"{text}"}}"#)
}
