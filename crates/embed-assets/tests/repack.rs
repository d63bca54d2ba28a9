//! The writer of models and tokenizers, on a tiny synthetic file of 4-bit weights and, where
//! `EMBED_TEST_Q4` names it, on the real one.

// Lint settings let tests unwrap, but not what they share.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::{Path, PathBuf};

use embed_assets::graph::{
    DATA_SUFFIX, GraphOptions, LENGTHS, LayerMaxima, OUTLIERS, Precision, Smoothing, write_model,
};
use embed_assets::tokenizer_json::tokenizer_json;
use embed_assets::weights::{EncoderWeights, Format, Vocabulary, q4, safetensors};
use embed_core::Pooling;
use embed_encoder::operators::{ADD_NORM, LAYER_KINDS, UNPACK_ROWS, layer_of};
use embed_kernels::Kind;

const HIDDEN: usize = 32;
const LAYERS: usize = 2;
const HEADS: usize = 2;
const WIDE: usize = 64;
const VOCABULARY: usize = 12;
const POSITIONS: usize = 8;
const TYPES: usize = 2;

const PIECES: [(&str, f32); 12] = [
    ("<s>", 0.0),
    ("<pad>", 0.0),
    ("</s>", 0.0),
    ("<unk>", 0.0),
    ("▁", -2.0),
    ("a", -3.0),
    ("b", -3.5),
    ("ab", -4.0),
    ("▁ab", -4.5),
    ("fi", -5.0),
    ("é", -6.0),
    ("<mask>", 0.0),
];

/// A file as the wheel's, byte by byte.
struct Q4File {
    bytes: Vec<u8>,
    /// Where the fields begin that tests damage.
    shape: usize,
    pieces: usize,
    text_length: usize,
    normalisation: usize,
    directory: usize,
}

impl Q4File {
    fn new() -> Self {
        let mut bytes = b"E5S1".to_vec();
        bytes.extend(1_u32.to_le_bytes());
        let shape = bytes.len();
        for size in [HIDDEN, LAYERS, HEADS, WIDE, VOCABULARY, POSITIONS, TYPES] {
            bytes.extend((size as i32).to_le_bytes());
        }
        bytes.extend(1e-12_f32.to_le_bytes());
        bytes.extend(32_i32.to_le_bytes());
        let pieces = bytes.len();
        for number in [PIECES.len(), 0, 2, 1, 3] {
            bytes.extend((number as i32).to_le_bytes());
        }
        let text: String = PIECES.iter().map(|(piece, _)| *piece).collect();
        let text_length = bytes.len();
        bytes.extend((text.len() as u64).to_le_bytes());
        let mut offset = 0_u32;
        bytes.extend(offset.to_le_bytes());
        for (piece, _) in PIECES {
            offset += piece.len() as u32;
            bytes.extend(offset.to_le_bytes());
        }
        for (_, score) in PIECES {
            bytes.extend(score.to_le_bytes());
        }
        bytes.extend(text.as_bytes());
        let normalisation = bytes.len();
        let table: [(char, &str); 3] = [('\t', " "), ('ﬁ', "fi"), ('ａ', "a")];
        let mut entries = Vec::new();
        for (from, to) in table {
            entries.extend(u32::from(from).to_le_bytes());
            entries.push(to.chars().count() as u8);
            entries.extend(to.chars().flat_map(|character| u32::from(character).to_le_bytes()));
        }
        bytes.extend((table.len() as i32).to_le_bytes());
        bytes.extend((entries.len() as u32).to_le_bytes());
        bytes.extend(entries);
        let directory = bytes.len();
        let tensors = tensors();
        let directory_bytes: usize = 4 + tensors.iter().map(|(name, ..)| 2 + name.len() + 21).sum::<usize>();
        bytes.extend((tensors.len() as i32).to_le_bytes());
        let mut offset = directory + directory_bytes;
        for (name, kind, count, data) in &tensors {
            bytes.extend((name.len() as u16).to_le_bytes());
            bytes.extend(name.as_bytes());
            bytes.push(*kind);
            bytes.extend((*count as u32).to_le_bytes());
            bytes.extend((offset as u64).to_le_bytes());
            bytes.extend((data.len() as u64).to_le_bytes());
            offset += data.len();
        }
        for (.., data) in tensors {
            bytes.extend(data);
        }
        Self { bytes, shape, pieces, text_length, normalisation, directory }
    }

    fn with(mut self, place: usize, bytes: &[u8]) -> Vec<u8> {
        self.bytes[place..place + bytes.len()].copy_from_slice(bytes);
        self.bytes
    }
}

/// Numbers that are the same each time and look like noise.
fn noise(seed: &mut u32) -> u32 {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *seed >> 16
}

fn tensors() -> Vec<(String, u8, usize, Vec<u8>)> {
    let mut seed = 1;
    let mut list = Vec::new();
    let mut blocks = |name: &str, rows: usize, columns: usize, seed: &mut u32| {
        let count = rows * columns;
        let mut data = Vec::new();
        for _ in 0..count / 32 {
            data.extend(0x2C00_u16.to_le_bytes()); // 1/16 as f16
            data.extend((0..16).map(|_| noise(seed) as u8));
        }
        list.push((name.to_owned(), 1_u8, count, data));
    };
    blocks("emb.word", VOCABULARY, HIDDEN, &mut seed);
    for layer in 0..LAYERS {
        for part in ["q", "k", "v", "ao"] {
            blocks(&format!("l{layer}.{part}.w"), HIDDEN, HIDDEN, &mut seed);
        }
        blocks(&format!("l{layer}.fi.w"), WIDE, HIDDEN, &mut seed);
        blocks(&format!("l{layer}.fo.w"), HIDDEN, WIDE, &mut seed);
    }
    let mut vector = |name: String, count: usize| {
        let data = (0..count).flat_map(|_| (noise(&mut seed) as f32 / 65_536.0).to_le_bytes()).collect();
        list.push((name, 0_u8, count, data));
    };
    vector("emb.pos".to_owned(), POSITIONS * HIDDEN);
    vector("emb.type".to_owned(), TYPES * HIDDEN);
    vector("emb.ln.w".to_owned(), HIDDEN);
    vector("emb.ln.b".to_owned(), HIDDEN);
    for layer in 0..LAYERS {
        for part in ["q", "k", "v", "ao", "fo"] {
            vector(format!("l{layer}.{part}.b"), HIDDEN);
        }
        vector(format!("l{layer}.fi.b"), WIDE);
        for part in ["aln.w", "aln.b", "oln.w", "oln.b"] {
            vector(format!("l{layer}.{part}"), HIDDEN);
        }
    }
    list
}

fn tiny() -> (EncoderWeights, Vocabulary) {
    q4::parse(Q4File::new().bytes).unwrap()
}

fn options<'a>(precision: Precision, smoothing: Option<&'a Smoothing>) -> GraphOptions<'a> {
    GraphOptions { precision, pooling: Pooling::Mean, smoothing, profile: "tiny", source: "a test" }
}

fn write(weights: &EncoderWeights, options: &GraphOptions<'_>, folder: &Path) -> (Vec<u8>, Vec<u8>) {
    let paths = write_model(weights, options, &folder.join("model.onnx")).unwrap();
    assert_eq!(paths.data, folder.join(format!("model.onnx{DATA_SUFFIX}")));
    (std::fs::read(paths.model).unwrap(), std::fs::read(paths.data).unwrap())
}

fn smoothing(weights: &EncoderWeights) -> Smoothing {
    let maxima: Vec<LayerMaxima> = (0..LAYERS)
        .map(|_| LayerMaxima {
            attention: (0..HIDDEN).map(|channel| if channel == 3 { 40.0 } else { 1.0 }).collect(),
            feed_forward: vec![1.0; HIDDEN],
            middle: (0..WIDE).map(|channel| channel as f32).collect(),
        })
        .collect();
    Smoothing::from_maxima(weights, &maxima).unwrap()
}

#[test]
fn the_reader_finds_what_the_file_holds() {
    let (weights, vocabulary) = tiny();
    assert_eq!(weights.shape.hidden, HIDDEN);
    assert_eq!(weights.layers.len(), LAYERS);
    assert_eq!(weights.embeddings.word.format(), Format::Q4);
    assert_eq!(vocabulary.pieces[8], ("▁ab".to_owned(), -4.5));
    assert_eq!((vocabulary.bos, vocabulary.eos, vocabulary.pad, vocabulary.unk), (0, 2, 1, 3));
    assert_eq!(vocabulary.normalisation[1], ('ﬁ', "fi".to_owned()));
    // The first block, decoded by hand: low halves first, then high ones.
    let mut seed = 1;
    let bytes: Vec<u8> = (0..16).map(|_| noise(&mut seed) as u8).collect();
    let mut row = vec![0.0; HIDDEN];
    weights.embeddings.word.read_row(0, &mut row);
    for (place, byte) in bytes.iter().enumerate() {
        assert_eq!(row[place], (f32::from(byte & 15) - 8.0) / 16.0);
        assert_eq!(row[place + 16], (f32::from(byte >> 4) - 8.0) / 16.0);
    }
}

#[test]
fn a_file_that_ends_early_is_an_error_wherever_it_ends() {
    let whole = Q4File::new().bytes;
    for length in 0..whole.len() {
        assert!(q4::parse(whole[..length].to_vec()).is_err(), "{length} bytes");
    }
}

#[test]
fn a_damaged_byte_never_panics() {
    let file = Q4File::new();
    let header = file.directory + 2_000;
    for place in 0..header.min(file.bytes.len()) {
        for value in [0x00, 0x7F, 0x80, 0xFF] {
            let mut bytes = file.bytes.clone();
            bytes[place] = value;
            // Most are errors; some, such as another score, are another model.
            let _ = q4::parse(bytes);
        }
    }
}

#[test]
fn impossible_numbers_are_errors() {
    let (minus, huge) = ((-1_i32).to_le_bytes(), i32::MAX.to_le_bytes());
    for field in 0..7 {
        for value in [minus, huge, [0; 4]] {
            let file = Q4File::new();
            let place = file.shape + 4 * field;
            assert!(q4::parse(file.with(place, &value)).is_err(), "size {field}");
        }
    }
    type Place = fn(&Q4File) -> usize;
    let damage: [(&str, Place, &[u8]); 9] = [
        ("magic", |_| 0, b"E5S2"),
        ("version", |_| 4, &[9]),
        ("epsilon", |file| file.shape + 28, &f32::NAN.to_le_bytes()),
        ("block", |file| file.shape + 32, &[64]),
        ("pieces", |file| file.pieces, &huge),
        ("special", |file| file.pieces + 4, &[200]),
        ("text", |file| file.text_length, &[0xFF; 8]),
        ("entries", |file| file.normalisation, &huge),
        ("tensors", |file| file.directory, &huge),
    ];
    for (name, place, bytes) in damage {
        let file = Q4File::new();
        let place = place(&file);
        assert!(q4::parse(file.with(place, bytes)).is_err(), "{name}");
    }
}

#[test]
fn the_same_weights_give_the_same_bytes() {
    let (weights, _) = tiny();
    let table = smoothing(&weights);
    for precision in [Precision::Int8, Precision::F32, Precision::Mixed, Precision::Bf16] {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let options = options(precision, Some(&table));
        assert_eq!(write(&weights, &options, first.path()), write(&weights, &options, second.path()));
    }
}

#[test]
fn precisions_and_smoothing_differ_and_the_model_knows_its_data() {
    let (weights, _) = tiny();
    let table = smoothing(&weights);
    let folder = tempfile::tempdir().unwrap();
    let plain = write(&weights, &options(Precision::Int8, None), folder.path());
    let smooth = write(&weights, &options(Precision::Int8, Some(&table)), folder.path());
    let exact = write(&weights, &options(Precision::F32, Some(&table)), folder.path());
    assert!(plain.0 != smooth.0 && smooth.0 != exact.0);
    for (model, data) in [plain, smooth, exact] {
        use sha2::Digest as _;
        let digest: String = sha2::Sha256::digest(&data).iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(model.windows(64).any(|window| window == digest.as_bytes()));
        assert!(model.len() < 200_000);
    }
}

/// Which of these names a model holds.
fn holds<const N: usize>(precision: Precision, table: Option<&Smoothing>, names: [&str; N]) -> [bool; N] {
    let (weights, _) = tiny();
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = write(&weights, &options(precision, table), folder.path());
    names.map(|name| model.windows(name.len()).any(|window| window == name.as_bytes()))
}

#[test]
fn a_precision_says_what_the_weights_of_layers_are() {
    let (weights, _) = tiny();
    let smooth = smoothing(&weights);
    let layers = |precision, table| holds(precision, table, LAYER_KINDS.map(layer_of));
    assert_eq!(layers(Precision::F32, Some(&smooth)), [true, false, false]);
    assert_eq!(layers(Precision::Int8, None), [false, false, true]);
    assert_eq!(layers(Precision::Int8, Some(&smooth)), [false, false, true]);
    assert_eq!(layers(Precision::Mixed, None), [false, true, false]);
    assert_eq!(layers(Precision::Mixed, Some(&smooth)), [false, true, false]);
}

#[test]
fn a_model_in_bf16_has_standard_operators_alone() {
    let custom = [ADD_NORM, layer_of(Kind::Single), UNPACK_ROWS, LENGTHS];
    assert_eq!(holds(Precision::F32, None, custom), [true; 4]);
    assert_eq!(holds(Precision::Bf16, None, custom), [false; 4]);
}

#[test]
fn a_table_of_smoothing_survives_its_text() {
    let (weights, _) = tiny();
    let table = smoothing(&weights);
    assert_eq!(Smoothing::parse(&table.to_text()).unwrap(), table);
    assert_eq!(table.layers[0].outliers.len(), OUTLIERS);
    // The loud channel is divided by more than any other.
    let largest = table.layers[0].attention.iter().max();
    assert_eq!(largest, table.layers[0].attention.get(3));
    assert!(Smoothing::parse("smoothing 2\n").is_err());
    let lines = |outliers: &str| format!("smoothing 3\nattention 1\nfeed_forward 1\n{outliers}\n");
    Smoothing::parse(&lines("outliers 1")).unwrap();
    for wrong in ["", "outliers x", "outlier 1"] {
        assert!(Smoothing::parse(&lines(wrong)).is_err(), "{wrong}");
    }
    assert!(Smoothing { layers: Vec::new() }.check(&weights.shape).is_err());
}

#[test]
fn the_table_of_this_build_can_be_read() {
    let table = Smoothing::of_model("multilingual-e5-small").unwrap().unwrap();
    assert_eq!(table.layers.len(), 12);
    assert!(Smoothing::of_model("no such model").unwrap().is_none());
}

/// A configuration of the tiny model, of either kind.
fn config(kind: &str) -> safetensors::Config {
    parsed_config(kind).unwrap()
}

fn parsed_config(kind: &str) -> Result<safetensors::Config, embed_core::Error> {
    let json = format!(
        r#"{{"model_type":"{kind}","hidden_size":{HIDDEN},"num_hidden_layers":1,"num_attention_heads":{HEADS},
        "intermediate_size":{WIDE},"vocab_size":{VOCABULARY},"max_position_embeddings":{POSITIONS},
        "type_vocab_size":1,"layer_norm_eps":1e-12,"hidden_act":"gelu","pad_token_id":1}}"#
    );
    safetensors::Config::parse(json.as_bytes())
}

/// A hub file with the names of the class that saved it.
fn hub_file(prefix: &str) -> Vec<u8> {
    use ::safetensors::tensor::{Dtype, TensorView, serialize};
    let mut seed = 7;
    let mut tensors = Vec::new();
    let mut add = |name: &str, shape: Vec<usize>| {
        let count: usize = shape.iter().product();
        let data: Vec<u8> =
            (0..count).flat_map(|_| (noise(&mut seed) as f32 / 65_536.0 - 0.5).to_le_bytes()).collect();
        tensors.push((format!("{prefix}{name}"), shape, data));
    };
    add("embeddings.word_embeddings.weight", vec![VOCABULARY, HIDDEN]);
    add("embeddings.position_embeddings.weight", vec![POSITIONS, HIDDEN]);
    add("embeddings.token_type_embeddings.weight", vec![1, HIDDEN]);
    for norm in ["embeddings.", "encoder.layer.0.attention.output.", "encoder.layer.0.output."] {
        add(&format!("{norm}LayerNorm.weight"), vec![HIDDEN]);
        add(&format!("{norm}LayerNorm.bias"), vec![HIDDEN]);
    }
    let linears = [
        ("attention.self.query", HIDDEN, HIDDEN),
        ("attention.self.key", HIDDEN, HIDDEN),
        ("attention.self.value", HIDDEN, HIDDEN),
        ("attention.output.dense", HIDDEN, HIDDEN),
        ("intermediate.dense", WIDE, HIDDEN),
        ("output.dense", HIDDEN, WIDE),
    ];
    for (name, outputs, inputs) in linears {
        add(&format!("encoder.layer.0.{name}.weight"), vec![outputs, inputs]);
        add(&format!("encoder.layer.0.{name}.bias"), vec![outputs]);
    }
    let views = tensors
        .iter()
        .map(|(name, shape, data)| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    serialize(views, None).unwrap()
}

#[test]
fn both_kinds_of_hub_files_are_read() {
    for (kind, prefix, first) in [("bert", "", 0), ("xlm-roberta", "roberta.", 2)] {
        let weights = safetensors::parse(hub_file(prefix), &config(kind)).unwrap();
        assert_eq!(weights.shape.first_position, first);
        let folder = tempfile::tempdir().unwrap();
        for precision in [Precision::Int8, Precision::F32, Precision::Mixed, Precision::Bf16] {
            write(&weights, &options(precision, None), folder.path());
        }
    }
}

#[test]
fn a_hub_file_that_is_cut_or_of_another_kind_is_an_error() {
    let whole = hub_file("");
    for length in [0, 7, 8, 100, whole.len() - 1] {
        assert!(safetensors::parse(whole[..length].to_vec(), &config("bert")).is_err(), "{length} bytes");
    }
    assert!(parsed_config("gpt2").is_err());
    assert!(safetensors::parse(hub_file("other."), &config("bert")).is_err());
    assert!(safetensors::Config::parse(b"{}").is_err());
}

#[test]
fn the_tokenizer_follows_the_vocabulary() {
    let (_, vocabulary) = tiny();
    let bytes = tokenizer_json(&vocabulary).unwrap();
    assert_eq!(bytes, tokenizer_json(&vocabulary).unwrap());
    let tokenizer = tokenizers::Tokenizer::from_bytes(&bytes).unwrap();
    let ids = |text: &str| tokenizer.encode(text, true).unwrap().get_ids().to_vec();
    assert_eq!(ids("ab"), [0, 8, 2]);
    assert_eq!(ids("ａb"), [0, 8, 2], "full width is folded");
    assert_eq!(ids("ab  \t ab"), [0, 8, 8, 2], "white space is folded");
    assert_eq!(ids("ﬁ"), [0, 4, 9, 2], "ligatures are parted");
    assert_eq!(ids("xyz"), [0, 4, 3, 2], "unknown characters in a row are one piece");
    assert_eq!(ids(""), [0, 2]);
}

#[test]
fn a_special_token_outside_of_the_vocabulary_is_an_error() {
    let (_, mut vocabulary) = tiny();
    vocabulary.unk = 99;
    assert!(tokenizer_json(&vocabulary).is_err());
}

/// The real file, if this machine has it.
fn real_file() -> Option<PathBuf> {
    let path = std::env::var_os("EMBED_TEST_Q4").map(PathBuf::from);
    if path.is_none() {
        embed_testkit::left_out("e5-small-q4.bin", &"EMBED_TEST_Q4 doesn't name it");
    }
    path
}

#[test]
fn the_real_file_becomes_a_model_and_a_tokenizer() {
    let Some(path) = real_file() else { return };
    let (weights, vocabulary) = q4::read(&path).unwrap();
    assert_eq!((weights.shape.hidden, weights.shape.layers), (384, 12));
    let table = Smoothing::of_model("multilingual-e5-small").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = write(&weights, &options(Precision::Int8, table.as_ref()), folder.path());
    assert!(model.len() < 100_000 && data.len() < 80_000_000);
    let tokenizer = tokenizers::Tokenizer::from_bytes(tokenizer_json(&vocabulary).unwrap()).unwrap();
    let ids = |text: &str| tokenizer.encode(text, true).unwrap().get_ids().to_vec();
    let reference = [0, 41, 1294, 12, 63399, 41, 1294, 87235, 1363, 2];
    assert_eq!(ids("query: database query optimization"), reference);
    // Each pair is the same text to SentencePiece's map.
    for (left, right) in
        [("ｗｉｄｅ　１２", "wide 12"), ("ﬁne", "fine"), ("a\u{00A0} b", "a b"), ("㍿", "株式会社")]
    {
        assert_eq!(ids(left), ids(right));
    }
}
