//! The settings of queues, mappings and function in `template.yaml`, so that tests run with what is deployed.

use std::time::Duration;

use saphyr::{LoadableYamlNode, Yaml};

use crate::lambda::mapping::MappingSettings;
use crate::sqs::queues::QueueSettings;

const TEMPLATE: &str = include_str!("../../template.yaml");

/// SQS drops a second message with the same deduplication id within this time.
const DEDUPLICATION: Duration = Duration::from_mins(5);

/// The template, with all its times divided by one factor.
#[derive(Debug)]
pub struct Template {
    yaml: Yaml<'static>,
    factor: u32,
}

impl Template {
    /// Reads the template.
    pub fn scaled(factor: u32) -> Self {
        let mut documents = Yaml::load_from_str(TEMPLATE).expect("template.yaml is YAML");
        Self {
            yaml: documents.remove(0),
            factor,
        }
    }

    /// A real time, divided by the factor.
    pub fn scale(&self, real: Duration) -> Duration {
        real / self.factor
    }

    /// The settings of a queue, by its logical id, without its dead-letter queue.
    pub fn queue(&self, resource: &str) -> QueueSettings {
        let path = |property| ["Resources", resource, "Properties", property];
        // The defaults are SQS's.
        let seconds = |property, default| {
            let seconds = self.number(&path(property)).unwrap_or(default);
            self.scale(Duration::from_secs(seconds))
        };
        let yes = |property| self.get(&path(property)).and_then(Yaml::as_bool) == Some(true);
        QueueSettings {
            delay: seconds("DelaySeconds", 0),
            visibility_timeout: seconds("VisibilityTimeout", 30),
            retention: seconds("MessageRetentionPeriod", 4 * 24 * 3600),
            dead_letter: None,
            fifo: yes("FifoQueue"),
            content_based_deduplication: yes("ContentBasedDeduplication"),
            deduplication: self.scale(DEDUPLICATION),
            counts_lag: Duration::ZERO,
        }
    }

    /// After how many receives a message of a queue goes to the dead-letter queue.
    pub fn receives(&self, resource: &str) -> u32 {
        let path = [
            "Resources",
            resource,
            "Properties",
            "RedrivePolicy",
            "maxReceiveCount",
        ];
        let receives = self.number(&path).expect("a maxReceiveCount");
        u32::try_from(receives).expect("a small number")
    }

    /// The settings of the function's source mapping, by its name among the `Events`.
    pub fn mapping(&self, event: &str) -> MappingSettings {
        let path = |property| {
            [
                "Resources",
                "Function",
                "Properties",
                "Events",
                event,
                "Properties",
                property,
            ]
        };
        let number = |property| self.number(&path(property));
        let scaling = path("ScalingConfig")
            .into_iter()
            .chain(["MaximumConcurrency"]);
        let concurrency = self.number(&scaling.collect::<Vec<_>>()).unwrap_or(2);
        let size = |number| usize::try_from(number).expect("a small number");
        let window = number("MaximumBatchingWindowInSeconds").unwrap_or(0);
        MappingSettings {
            batch_size: size(number("BatchSize").expect("a BatchSize")),
            window: self.scale(Duration::from_secs(window)),
            max_concurrency: size(concurrency),
            reports_failures: self.get(&path("FunctionResponseTypes")).is_some(),
        }
    }

    /// The function's time-out.
    pub fn timeout(&self) -> Duration {
        let seconds = self.number(&["Resources", "Function", "Properties", "Timeout"]);
        self.scale(Duration::from_secs(seconds.expect("a Timeout")))
    }

    /// The function's memory, in MB.
    pub fn memory_megabytes(&self) -> u64 {
        let memory = self.number(&["Resources", "Function", "Properties", "MemorySize"]);
        memory.expect("a MemorySize")
    }

    /// The value at a path, without its tag.
    fn get(&self, path: &[&str]) -> Option<&Yaml<'static>> {
        path.iter()
            .try_fold(&self.yaml, |node, key| match node.as_mapping_get(key)? {
                Yaml::Tagged(_, node) => Some(node.as_ref()),
                node => Some(node),
            })
    }

    /// A number, or the default of the parameter that stands in its place (`!Ref NAME`).
    fn number(&self, path: &[&str]) -> Option<u64> {
        let node = self.get(path)?;
        let number = match node.as_integer() {
            Some(number) => u64::try_from(number).ok(),
            None => {
                let text = node.as_str()?;
                let digits = text.parse().ok();
                digits.or_else(|| self.number(&["Parameters", text, "Default"]))
            }
        };
        assert!(number.is_some(), "{path:?} is no number");
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_from_the_template_and_its_parameters_and_are_scaled() {
        let template = Template::scaled(10);
        let work = template.queue("WorkQueue");
        assert_eq!(work.delay, Duration::from_secs(30), "HintDelaySeconds");
        assert_eq!(work.visibility_timeout, Duration::from_secs(100));
        assert_eq!(template.receives("WorkQueue"), 5);
        let sweeps = template.queue("SweepQueue");
        assert!(sweeps.fifo && !work.fifo);
        let collect = template.queue("CollectQueue");
        assert!(collect.fifo && template.queue("CollectDeadLetterQueue").fifo);
        assert!(sweeps.content_based_deduplication && !collect.content_based_deduplication);
        assert_eq!(sweeps.retention, Duration::from_secs(360));
        let mapping = template.mapping("Work");
        assert_eq!((mapping.batch_size, mapping.max_concurrency), (200, 2));
        assert_eq!(mapping.window, Duration::from_secs(6));
        assert!(mapping.reports_failures);
        assert_eq!(template.mapping("Sweeps").batch_size, 1);
        let collections = template.mapping("Collections");
        assert_eq!(
            (collections.batch_size, collections.max_concurrency),
            (1, 2)
        );
        assert_eq!(template.timeout(), Duration::from_secs(90));
        assert_eq!(template.memory_megabytes(), 256);
    }
}
