//! `rten`: texts sorted by length, in padded batches; the graph pools.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow};
use embed_rivals_worker::{Contender, Role};
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, Tensor};
use tokenizers::{Tokenizer, TruncationParams};

use crate::batches::{Rows, sorted_batches};

/// Texts of a batch, to choose from.
const BATCHES: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// What a choice calls runs on all cores, one after the other, and one run on each.
const ALL: &str = "a run on all cores";
const EACH: &str = "a run a core";
/// `<pad>` in XLM-RoBERTa.
const PAD: i32 = 1;

/// One model, which runs on all cores or several times at once, whichever is faster.
pub(crate) struct Rten {
    model: Model,
    tokenizer: Tokenizer,
    /// Where a run computes: as many run at a time.
    pools: Vec<Arc<ThreadPool>>,
    chosen: &'static str,
    batch: usize,
}

impl Rten {
    pub(crate) fn load(model: &Path, tokenizer: &Path) -> Result<Self> {
        let model = ModelOptions::with_all_ops().prepack_weights(true).load_file(model)?;
        let mut tokenizer = Tokenizer::from_file(tokenizer).map_err(|error| anyhow!("{error}"))?;
        let truncation = TruncationParams { max_length: 512, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|error| anyhow!("{error}"))?;
        tokenizer.with_padding(None);
        Ok(Self { model, tokenizer, pools: pools(ALL)?, chosen: ALL, batch: 8 })
    }

    fn ids(&self, text: &str, role: Role) -> Result<Vec<i32>> {
        let encoding = self.tokenizer.encode_fast(format!("{}{text}", role.prefix()), true);
        let encoding = encoding.map_err(|error| anyhow!("{error}"))?;
        encoding.get_ids().iter().map(|&id| Ok(id.try_into()?)).collect()
    }

    fn run(&self, pool: &Arc<ThreadPool>, batch: &[&[i32]]) -> Result<Rows> {
        let shape = [batch.len(), batch.iter().map(|ids| ids.len()).max().unwrap_or(0)];
        let at = |[row, column]: [usize; 2]| batch[row].get(column).copied().unwrap_or(PAD);
        let ids = NdTensor::from_fn(shape, at);
        let mask = NdTensor::from_fn(shape, |place| i32::from(at(place) != PAD));
        let input = |name: &str| -> Result<NodeId> { Ok(self.model.node_id(name)?) };
        let inputs = vec![
            (input("input_ids")?, ids.view().into()),
            (input("attention_mask")?, mask.view().into()),
            (input("token_type_ids")?, NdTensor::<i32, 2>::zeros(shape).into()),
        ];
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(pool)));
        let [output] = self.model.run_n(inputs, [self.model.node_id("pooled")?], Some(options))?;
        let rows: Tensor<f32> = output.try_into()?;
        let width = rows.shape().last().copied().context("the output has no dimensions")?;
        Ok(rows.to_vec().chunks(width).map(<[f32]>::to_vec).collect())
    }
}

/// As many as runs at a time.
fn pools(chosen: &str) -> Result<Vec<Arc<ThreadPool>>> {
    let cores = thread::available_parallelism()?.get();
    let (pools, threads) = if chosen == ALL { (1, cores) } else { (cores, 1) };
    Ok((0..pools).map(|_| Arc::new(ThreadPool::with_num_threads(threads))).collect())
}

impl Contender for Rten {
    fn setting(&self) -> String {
        format!("sorted, batches of {}, {}", self.batch, self.chosen)
    }

    fn embed(&self, texts: &[String], role: Role) -> Result<Rows> {
        let ids: Vec<Vec<i32>> = texts.iter().map(|text| self.ids(text, role)).collect::<Result<_>>()?;
        if let [ids] = &ids[..] {
            return self.run(&self.pools[ids.len() % self.pools.len()], &[ids]);
        }
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        sorted_batches(&lengths, self.batch, &self.pools, |pool, batch| {
            let of_batch: Vec<&[i32]> = batch.iter().map(|&i| &ids[i][..]).collect();
            self.run(pool, &of_batch)
        })
    }

    fn choices(&self) -> Vec<String> {
        let all = [ALL, EACH].into_iter().flat_map(|runs| BATCHES.map(|batch| (runs, batch)));
        all.map(|(runs, batch)| format!("{runs}, {batch}")).collect()
    }

    fn choose(&mut self, choice: &str) -> Result<()> {
        let (runs, batch) = choice.split_once(", ").context("a choice has two parts")?;
        self.batch = batch.parse()?;
        self.chosen = if runs == ALL { ALL } else { EACH };
        self.pools = pools(self.chosen)?;
        Ok(())
    }
}
