mod pair;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use protocol::{Difference, Mender, Protocol, Terms};
use recording::{
    Captured, ContentKind, Exchange, Kind, Ledger, Notes, Recording, Status, Timestamp,
};
use serde::{Deserialize, Serialize};

use self::pair::{BOTH_LEFT, Pair, UNASKED, excuse, not_comparable, pair};
use crate::differences::{Differences, Differing, Group, NoiseGroup};
use crate::error::{AnalyzeError, Which};
use crate::gate::{Gate, Limit, Metric, Scope, Stat};
use crate::join::{Join, Joined, Rows};
use crate::learnt::Learnt;
use crate::samples::{Samples, Summary};
use crate::table::{Subject, Table, count, reason};
use crate::times::{Latency, Times};
use crate::trust::{self, Issue};
use crate::verdict::{self, Verdict};

/// How to compare.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub gate: Gate,
    /// The protocol's own options; see [`Terms::options`].
    pub terms: Vec<(Arc<str>, Arc<str>)>,
}

/// What is known of a recording or a run apart from its rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    pub is_run: bool,
    pub path: String,
    pub id: String,
    /// A run's recording, by id; a recording's own.
    pub recording: String,
    pub tool: String,
    pub protocols: Vec<String>,
    /// A run's target; where a recording was captured.
    pub source: String,
    pub pacing: Option<String>,
    pub began: String,
    pub ended: Option<String>,
    pub complete: bool,
    pub ledger: Ledger,
    pub left_out: Vec<String>,
    pub notes: Vec<String>,
    /// In a run: requests answered with an error, and without when recorded.
    #[serde(default)]
    pub new_errors: u64,
    /// How the recording behind a run was captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captured: Option<Captured>,
}

/// How two runs, or a recording and a run, compare.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// Of this structure; 1.
    pub format: u32,
    pub verdict: Verdict,
    /// What the user wanted to be compared otherwise: `ignore-header x-build`.
    pub terms: Vec<String>,
    /// What makes the comparison less to be trusted.
    pub trust: Vec<Issue>,
    pub old: Side,
    pub new: Side,
    pub noise_run: Option<Side>,
    pub span: Span,
    pub requests: Counts,
    pub logins: Counts,
    /// Differences that are not noise, by kind. A request may differ in several kinds.
    pub differences: BTreeMap<String, u64>,
    /// The most frequent first.
    pub groups: Vec<Group>,
    /// Differences in statements beyond those that are told apart, by kind.
    pub not_listed: BTreeMap<String, u64>,
    /// What differs between OLD and the noise run, and so does not count.
    pub noise: Vec<NoiseGroup>,
    pub latency: Latency,
}

/// One side of the comparison.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Side {
    #[serde(flatten)]
    pub about: About,
    pub requests: u64,
    pub ok: u64,
    /// By code; logins too.
    pub errors: BTreeMap<String, u64>,
    /// By reason.
    pub unanswered: BTreeMap<String, u64>,
    pub skipped: BTreeMap<String, u64>,
    /// The harness's own fault; of a run.
    pub lateness: Option<Summary>,
    /// What the server said when the first session logged in.
    pub greeting: Vec<String>,
}

/// The recording's own time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Span {
    pub start: String,
    pub end: String,
    pub seconds: f64,
}

/// What became of each pair: `matched = compared + missing + consequences + not comparable`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    pub matched: u64,
    /// Answered on both sides, or known to fail in NEW where the client left.
    pub compared: u64,
    /// Of these, without any difference but noise within the same request.
    pub equal: u64,
    /// Answered by OLD only, though sent to NEW.
    pub missing: u64,
    /// Not sent to NEW because of what went wrong there before, by reason.
    pub consequences: BTreeMap<String, u64>,
    /// By reason.
    pub not_comparable: BTreeMap<String, u64>,
    /// In one of the streams only.
    pub only_old: u64,
    pub only_new: u64,
}

impl Counts {
    pub fn total(&self) -> u64 {
        self.matched + self.only_old + self.only_new
    }

    /// The share of requests that were compared, or that NEW failed to answer.
    pub fn coverage(&self) -> f64 {
        let covered = self.compared + self.missing;
        let asked = self.total() - self.filtered() - self.left() - self.unasked();
        covered as f64 / (asked as f64).max(1.0)
    }

    /// Requests that the client left on both sides before the answer's end.
    pub fn left(&self) -> u64 {
        self.not_compared(BOTH_LEFT)
    }

    /// Requests that both replays were told to leave out.
    pub fn filtered(&self) -> u64 {
        self.not_compared(NEITHER_SENT)
    }

    /// Answers that the recorded server gave to nobody: there is no request that could be sent.
    pub fn unasked(&self) -> u64 {
        self.not_compared(UNASKED)
    }

    fn not_compared(&self, reason: &str) -> u64 {
        let count = self.not_comparable.get(reason);
        count.copied().unwrap_or_default()
    }
}

impl Comparison {
    /// Differences of all kinds that are not noise.
    pub fn differences(&self) -> u64 {
        self.differences.values().sum()
    }
}

/// Compares request by request. Each directory is read once; memory is bounded by caps that the
/// result names, and by the number of sessions open at the same time.
pub fn compare(
    old: &Recording,
    new: &Recording,
    noise: Option<&Recording>,
    options: &Options,
) -> Result<Comparison, AnalyzeError> {
    belong_together(old, new, noise)?;
    let sides = [&About::of(old), &About::of(new)];
    let noise_side = noise.map(About::of);
    let mut comparer = Comparer::new(sides, noise_side.as_ref(), options, protocol::by_name);
    let noise_rows = noise.map(|noise| rows(Which::Noise, noise)).transpose()?;
    let join = Join::new(rows(Which::Old, old)?, rows(Which::New, new)?, noise_rows);
    comparer.read(join)?;
    // After reading, for only then it is known what could not be read.
    Ok(comparer.conclude(
        About::of(old),
        About::of(new),
        noise.map(About::of),
        options,
    ))
}

/// Runs of one recording, each given once?
fn belong_together(
    old: &Recording,
    new: &Recording,
    noise: Option<&Recording>,
) -> Result<(), AnalyzeError> {
    let noise = noise.map(|noise| (Which::Noise, noise));
    let mut before = vec![(Which::Old, old)];
    for (which, run) in [(Which::New, new)].into_iter().chain(noise) {
        let [(old_id, old), (id, other)] = [old, run].map(recording_of);
        if id != old_id {
            return Err(AnalyzeError::OtherRecording { which, old, other });
        }
        let id = &run.manifest().id;
        let same = before.iter().find(|(_, it)| it.manifest().id == *id);
        if let Some(&(other, _)) = same {
            return Err(AnalyzeError::SameTwice { which, other });
        }
        before.push((which, run));
    }
    Ok(())
}

/// Its id, and how it is told.
fn recording_of(directory: &Recording) -> (&str, String) {
    let manifest = directory.manifest();
    let here = directory.dir().display().to_string();
    let (id, path) = match &manifest.run {
        Some(run) => (&run.recording, &run.recording_path),
        None => (&manifest.id, &here),
    };
    let told = match id.as_str() {
        "" => format!("a recording that has lost its id ({path})"),
        id => format!("the recording {id} ({path})"),
    };
    (id, told)
}

fn rows(which: Which, recording: &Recording) -> Result<Rows<'static>, AnalyzeError> {
    let rows = recording.rows().map_err(AnalyzeError::reading(which))?;
    let mut mender = Mender::default();
    Ok(Box::new(rows.map(move |row| {
        let mut row = row.map_err(AnalyzeError::reading(which))?;
        mender.mend(&mut row);
        Ok(row)
    })))
}

impl About {
    /// Complete in `left_out` only when all rows were read.
    fn of(recording: &Recording) -> About {
        let manifest = recording.manifest();
        let mut about = About {
            is_run: manifest.kind == ContentKind::Run,
            path: recording.dir().display().to_string(),
            id: manifest.id.clone(),
            recording: manifest.id.clone(),
            tool: manifest.tool.clone(),
            protocols: manifest.protocols.clone(),
            source: manifest.source.clone(),
            began: manifest.created_at.to_string(),
            complete: manifest.complete,
            ledger: manifest.ledger.clone(),
            left_out: recording.left_out(),
            ..About::default()
        };
        if let Some(run) = &manifest.run {
            about.recording.clone_from(&run.recording);
            about.source.clone_from(&run.target);
            about.pacing = Some(run.pacing.clone());
            about.began = run.started_at.to_string();
            about.ended = Some(run.finished_at.to_string());
            about.notes.clone_from(&run.notes);
            about.new_errors = run.new_errors;
            about.captured.clone_from(&run.captured);
        }
        about
    }
}

const NEITHER_SENT: &str = "neither answered: filtered";
const OVER_CAP_AND_NOISY: &str = "over the cap, and not the same from run to run";

/// Statements whose requests are counted apart; of the rarer ones only the differences are.
const SUBJECTS: usize = 20_000;

struct Comparer {
    protocols: fn(&str) -> Option<&'static dyn Protocol>,
    /// The one of sessions whose opening is not there.
    default: Option<&'static dyn Protocol>,
    /// Of NEW and of the noise run, beside OLD.
    terms: [Terms; 2],
    sessions: HashMap<u64, Session>,
    /// Sessions whose transaction failed on one side alone, by what can't be compared, and why it can't.
    apart: HashMap<u64, String>,
    old_is_run: bool,
    first: Option<Timestamp>,
    last: Timestamp,
    old: Gathered,
    new: Gathered,
    noise: Gathered,
    requests: Counts,
    logins: Counts,
    differences: Differences,
    compared: Table<u64>,
    times: Times,
    learnt: Learnt,
}

#[derive(Clone, Copy)]
struct Session {
    protocol: &'static dyn Protocol,
    mid_stream: bool,
}

#[derive(Default)]
struct Gathered {
    side: Side,
    lateness: Option<Samples>,
}

impl Comparer {
    fn new(
        [old, new]: [&About; 2],
        noise: Option<&About>,
        options: &Options,
        protocols: fn(&str) -> Option<&'static dyn Protocol>,
    ) -> Comparer {
        let target = |about: &About| about.is_run.then(|| Arc::from(about.source.as_str()));
        let terms = [Some(new), noise].map(|observed| Terms {
            options: options.terms.clone(),
            expected_target: target(old),
            observed_target: observed.and_then(target),
        });
        Comparer {
            protocols,
            default: old.protocols.first().and_then(|name| protocols(name)),
            terms,
            sessions: HashMap::new(),
            apart: HashMap::new(),
            old_is_run: old.is_run,
            first: None,
            last: Timestamp(0),
            old: Gathered::default(),
            new: Gathered::default(),
            noise: Gathered::default(),
            requests: Counts::default(),
            logins: Counts::default(),
            differences: Differences::default(),
            compared: Table::new(SUBJECTS),
            times: Times::new(),
            learnt: Learnt::new(old.protocols.iter().filter_map(|name| protocols(name))),
        }
    }

    fn add(&mut self, joined: Joined) -> Result<(), AnalyzeError> {
        let Joined {
            mut old,
            new,
            noise,
        } = joined;
        if let Some(old) = &mut old
            && old.kind == Kind::Request
            && self.learnt.name(old)
        {
            self.times.rename(&self.learnt);
            self.compared.rename(&self.learnt);
            self.differences.rename(&self.learnt);
        }
        let Some(row) = old.as_ref().or(new.as_ref()).or(noise.as_ref()) else {
            return Ok(());
        };
        self.first.get_or_insert(row.started_at);
        self.last = row.started_at;
        match row.kind {
            Kind::Open => self.open(row)?,
            Kind::Request => {}
            Kind::Cancel | Kind::Prepare => return Ok(()),
            Kind::Close => {
                self.sessions.remove(&row.session);
                self.apart.remove(&row.session);
                return Ok(());
            }
        }
        let session = self.sessions.get(&row.session).copied();
        let protocol = session.map(|session| session.protocol).or(self.default);
        for (side, row) in [
            (&mut self.old, &old),
            (&mut self.new, &new),
            (&mut self.noise, &noise),
        ] {
            if let Some(row) = row {
                side.add(row, protocol);
            }
        }
        let counts = match row.kind {
            Kind::Open => &mut self.logins,
            _ => &mut self.requests,
        };
        let (old, new) = match (old, new) {
            (Some(old), Some(new)) => (old, new),
            (Some(_), None) => {
                counts.only_old += 1;
                return Ok(());
            }
            (None, new) => {
                counts.only_new += u64::from(new.is_some());
                return Ok(());
            }
        };
        counts.matched += 1;
        let [new_terms, noise_terms] = &self.terms;
        let mid_stream = session.is_some_and(|session| session.mid_stream);
        let unknown = not_comparable(&old, self.old_is_run, mid_stream);
        let paired = match unknown {
            Some(reason) => Pair::NotComparable(reason.to_owned()),
            None => pair(&old, &new, protocol, new_terms),
        };
        let paired = excuse(&mut self.apart, paired, &old, &new);
        let noisy = noise
            .as_ref()
            .map(|it| pair(&old, it, protocol, noise_terms));
        let noisy = match noisy {
            Some(Pair::Compared(differences)) => differences,
            Some(Pair::Missing(difference)) => vec![difference],
            _ => Vec::new(),
        };
        let (fresh, both) = match paired {
            Pair::Compared(differences) => (differences, true),
            Pair::Missing(difference) => (vec![difference], false),
            Pair::Consequence(reason) => {
                count(&mut counts.consequences, &reason, 1);
                return Ok(());
            }
            Pair::NotComparable(reason) => {
                count(&mut counts.not_comparable, &reason, 1);
                return Ok(());
            }
        };
        let over_cap = |one: &Difference| one.place == Difference::OVER_CAP;
        if fresh.iter().all(over_cap) && !fresh.is_empty() && noisy.iter().any(over_cap) {
            count(&mut counts.not_comparable, OVER_CAP_AND_NOISY, 1);
            return Ok(());
        }
        if !both {
            counts.missing += 1;
        }
        counts.compared += u64::from(both);
        if both && old.kind == Kind::Request {
            self.times.add(&old, &new, noise.as_ref());
        }
        *self.compared.entry(&old) += 1;
        if fresh.is_empty() && noisy.is_empty() {
            counts.equal += u64::from(both);
            return Ok(());
        }
        let differs = self.differences.add(&Differing {
            protocol,
            old: &old,
            new: Some(&new),
            fresh,
            noise: noisy,
        });
        counts.equal += u64::from(both && !differs);
        Ok(())
    }

    fn open(&mut self, row: &Exchange) -> Result<(), AnalyzeError> {
        let Some(info) = row.info.as_deref() else {
            return Ok(());
        };
        let Some(protocol) = (self.protocols)(&info.protocol) else {
            return Err(AnalyzeError::UnknownProtocol {
                session: row.session,
                protocol: info.protocol.to_string(),
            });
        };
        let mid_stream = row.notes.contains(Notes::MID_STREAM);
        self.sessions.insert(
            row.session,
            Session {
                protocol,
                mid_stream,
            },
        );
        Ok(())
    }

    fn read(&mut self, join: Join<'_>) -> Result<(), AnalyzeError> {
        for joined in join {
            self.add(joined?)?;
        }
        Ok(())
    }

    fn conclude(
        self,
        old: About,
        new: About,
        noise: Option<About>,
        options: &Options,
    ) -> Comparison {
        let first = self.first.unwrap_or_default();
        let seconds = self.last.since(first) as f64 / 1e9;
        let (compared, ..) = self.compared.finish();
        let compared: HashMap<Subject, u64> = compared
            .into_iter()
            .map(|(subject, _, count)| (subject, count))
            .collect();
        let grouped = self
            .differences
            .finish(|subject| compared.get(&subject).copied().unwrap_or_default());
        let (latency, read) = self.times.finish(seconds, &bars(&options.gate));
        let mut comparison = Comparison {
            format: 1,
            verdict: Verdict::default(),
            terms: options
                .terms
                .iter()
                .map(|(name, value)| format!("{name} {value}"))
                .collect(),
            trust: Vec::new(),
            old: self.old.finish(old),
            new: self.new.finish(new),
            noise_run: noise.map(|about| self.noise.finish(about)),
            span: Span {
                start: first.to_string(),
                end: self.last.to_string(),
                seconds,
            },
            requests: self.requests,
            logins: self.logins,
            differences: grouped.by_kind,
            groups: grouped.groups,
            not_listed: grouped.untold,
            noise: grouped.noise,
            latency,
        };
        comparison.trust = trust::issues(&comparison);
        comparison.verdict = verdict::decide(&options.gate, &comparison, &read);
        comparison
    }
}

/// What marks a statement as slower: the gate's own conditions, or else the default's.
fn bars(gate: &Gate) -> Vec<(Stat, Limit, bool)> {
    let of = |gate: &Gate| -> Vec<(Stat, Limit, bool)> {
        gate.conditions
            .iter()
            .filter_map(|condition| match condition.metric {
                Metric::Time(Scope::Fingerprint, stat) => {
                    Some((stat, condition.limit, condition.or_equal))
                }
                _ => None,
            })
            .collect()
    };
    let own = of(gate);
    if own.is_empty() {
        of(&Gate::default())
    } else {
        own
    }
}

impl Gathered {
    fn add(&mut self, row: &Exchange, protocol: Option<&dyn Protocol>) {
        let side = &mut self.side;
        if row.kind == Kind::Open && row.status == Status::Ok && side.greeting.is_empty() {
            let answer = protocol.map(|protocol| protocol.show_response(row, 0));
            side.greeting = answer.unwrap_or_default().messages;
            side.greeting.truncate(24);
        }
        side.requests += u64::from(row.kind == Kind::Request);
        match row.status {
            Status::Ok => side.ok += u64::from(row.kind == Kind::Request),
            Status::Error => {
                let code = row.response.as_ref().and_then(|r| r.error_code.as_deref());
                count(&mut side.errors, code.unwrap_or("no code"), 1);
            }
            Status::Unanswered => count(&mut side.unanswered, &reason(row), 1),
            Status::Skipped => count(&mut side.skipped, &reason(row), 1),
        }
        if let Some(pacing) = row.pacing
            && row.kind == Kind::Request
            && row.status != Status::Skipped
        {
            let lateness = self.lateness.get_or_insert_with(Samples::fine);
            lateness.record(pacing.lateness_ns());
        }
    }

    fn finish(mut self, about: About) -> Side {
        self.side.about = about;
        self.side.lateness = self.lateness.map(|lateness| lateness.summary());
        self.side
    }
}

#[cfg(test)]
pub(crate) mod tests;

#[cfg(test)]
mod directories;
