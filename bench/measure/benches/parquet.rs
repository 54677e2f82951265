//! How a session's rows are best written: one file of the function's, written anew with other settings of Parquet. It
//! writes the files into a folder, and prints a JSON line for each; `bench/parquet.py` reads both. `make bench-parquet`
//! runs them.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use chrono::{DateTime, TimeDelta};
use ivs_attendance::session::{EndedSession, SessionRef};
use ivs_attendance::table::participants::{PARTICIPANTS, Participant};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterPropertiesBuilder};

/// A name, and what it changes of the function's settings.
type Variant = (
    &'static str,
    fn(WriterPropertiesBuilder) -> WriterPropertiesBuilder,
);

const VARIANTS: [Variant; 13] = [
    ("the function's", |it| it),
    ("zstd level 3", |it| it.set_compression(zstd(3))),
    ("zstd level 9", |it| it.set_compression(zstd(9))),
    ("not compressed", |it| {
        it.set_compression(Compression::UNCOMPRESSED)
    }),
    ("no dictionaries", |it| it.set_dictionary_enabled(false)),
    ("dictionaries of all columns", |it| {
        DISTINCT.iter().fold(it, |it, &name| {
            it.set_column_dictionary_enabled(name.into(), true)
        })
    }),
    ("ids as deltas", |it| {
        DISTINCT[..2].iter().fold(it, |it, &name| {
            it.set_column_encoding(name.into(), Encoding::DELTA_BYTE_ARRAY)
        })
    }),
    ("times as deltas", |it| {
        it.set_column_encoding(DISTINCT[2].into(), Encoding::DELTA_BINARY_PACKED)
    }),
    ("row groups of 10,000", |it| {
        it.set_max_row_group_row_count(Some(10_000))
    }),
    ("row groups of 50,000", |it| {
        it.set_max_row_group_row_count(Some(50_000))
    }),
    ("pages of 64 KiB", |it| {
        it.set_data_page_size_limit(64 * 1024)
    }),
    ("no statistics", |it| {
        it.set_statistics_enabled(EnabledStatistics::None)
    }),
    ("statistics by column chunk", |it| {
        it.set_statistics_enabled(EnabledStatistics::Chunk)
    }),
];

/// The columns whose values hardly repeat.
const DISTINCT: [&str; 3] = ["participant_id", "user_id", "first_join_time"];

fn zstd(level: i32) -> Compression {
    Compression::ZSTD(ZstdLevel::try_new(level).unwrap())
}

fn main() {
    // The folder to write to.
    let folder = std::env::args().nth(1).unwrap();
    for rows in [100_u32, 10_000, 100_000] {
        let batch = batch(rows);
        for (number, (name, change)) in VARIANTS.iter().enumerate() {
            let (bytes, fastest) = fastest(|| encode(&batch, change));
            let path = Path::new(&folder).join(format!("{rows}-{number}.parquet"));
            std::fs::write(&path, &bytes).unwrap();
            println!(
                "{}",
                serde_json::json!({
                    "rows": rows,
                    "settings": name,
                    "bytes": bytes.len(),
                    "milliseconds": fastest.as_secs_f64() * 1000.0,
                    "path": path,
                })
            );
        }
    }
}

/// What it gives, and its fastest of as many runs as fit into a second, at least five.
fn fastest<T>(mut work: impl FnMut() -> T) -> (T, Duration) {
    let (began, mut times, mut given) = (Instant::now(), Vec::new(), None);
    while times.len() < 5 || began.elapsed() < Duration::from_secs(1) {
        let began = Instant::now();
        given = Some(work());
        times.push(began.elapsed());
    }
    (given.unwrap(), times.into_iter().min().unwrap())
}

fn encode(
    batch: &RecordBatch,
    change: &impl Fn(WriterPropertiesBuilder) -> WriterPropertiesBuilder,
) -> Vec<u8> {
    let options = ArrowWriterOptions::new()
        .with_properties(change(PARTICIPANTS.properties()).build())
        .with_skip_arrow_metadata(true);
    let mut writer =
        ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

/// The rows of a session as the function has them, from a file of its own.
fn batch(rows: u32) -> RecordBatch {
    let start = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
    let session = EndedSession {
        name: SessionRef {
            stage_arn: "arn:aws:ivs:us-west-2:123456789012:stage/AbCdef1G2hij"
                .parse()
                .unwrap(),
            session_id: "st-1CVugbu2cf2n8".parse().unwrap(),
        },
        start_time: start,
        end_time: start + TimeDelta::minutes(90),
    };
    let mut random = Random(7);
    let mut person = |number: u32| {
        let publishes = number.is_multiple_of(50);
        Participant {
            participant_id: Some(random.text(12)),
            user_id: Some(format!("user-{}", random.text(8))),
            state: Some("DISCONNECTED".into()),
            first_join_time: Some(start + TimeDelta::milliseconds(random.below(5_400_000))),
            published: Some(publishes),
            recording_state: Some(if publishes { "STOPPED" } else { "DISABLED" }.into()),
            replication_type: Some("NONE".into()),
            redundant_ingest: Some(false),
            ..Participant::default()
        }
    };
    let rows = (PARTICIPANTS.merge)((0..rows).map(&mut person).collect());
    let file = PARTICIPANTS.encode(&session, &rows).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file)).unwrap();
    reader
        .with_batch_size(rows.len())
        .build()
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
}

/// SplitMix64, by Sebastiano Vigna: <https://prng.di.unimi.it/splitmix64.c>. Ids of random letters compress as real ones.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, near enough to even.
    fn below<N: TryFrom<u64>>(&mut self, limit: u64) -> N {
        N::try_from(self.next() % limit).ok().unwrap()
    }

    fn text(&mut self, length: usize) -> String {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        (0..length)
            .map(|_| char::from(LETTERS[self.below::<usize>(62)]))
            .collect()
    }
}
