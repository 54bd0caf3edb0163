//! Results of a sweep for TensorBoard's `HParams` tab: varied keys, metrics, and the values, status
//! and measurements of every run.

use std::path::Path;

use protobuf::Message;
use protobuf::well_known_types::{ListValue, Value as ProtoValue};
use runs::metrics::{EventFile, ScoredSplit, plugin_value};
use tensorboard_proto::api::{
    DataType, DatasetType, Experiment, HParamInfo, Interval, MetricInfo, Status,
};
use tensorboard_proto::plugin_hparams::{HParamsPluginData, SessionEndInfo, SessionStartInfo};
use tensorboard_proto::summary::Summary_Value;
use toml::Value;

use super::Error;
use super::definition::{Sweep, format_value};
use super::results::{Results, RunResult, TrialResult};
use super::space::{Axis, Domain};

/// Replaces the event files in the folder `out`: one for the sweep, and one for each started run.
pub(super) fn write(sweep: &Sweep, results: &Results, out: &Path) -> Result<(), Error> {
    // TensorBoard would show existing event files as well.
    durable::remove(out)?;
    let mut data = HParamsPluginData::new();
    data.set_experiment(experiment(sweep, results));
    let mut events = EventFile::create(out)?;
    events.write_values(0, [value("_hparams_/experiment", &data)])?;
    events.flush()?;
    for trial in &results.trials {
        for run in &trial.runs {
            if !run.rungs.is_empty() || run.error.is_some() {
                let folder = out.join(format!("trial-{:03}-seed-{}", trial.trial, run.seed));
                write_run(sweep, trial, run, &folder)?;
            }
        }
    }
    Ok(())
}

fn write_run(
    sweep: &Sweep,
    trial: &TrialResult,
    run: &RunResult,
    folder: &Path,
) -> Result<(), Error> {
    let mut events = EventFile::create(folder)?;
    let mut start = SessionStartInfo::new();
    // The seeds of a trial form a group, whose mean the tab can show.
    start.set_group_name(format!("trial {}", trial.trial));
    for (key, value) in &sweep.trials[trial.trial].settings {
        start.mut_hparams().insert(key.clone(), proto(value));
    }
    let mut data = HParamsPluginData::new();
    data.set_session_start_info(start);
    events.write_values(0, [value("_hparams_/session_start_info", &data)])?;
    for measured in &run.rungs {
        let values = measured.values.iter().map(|(name, value)| (name.as_str(), *value));
        events.write_scalars(measured.epochs, values)?;
    }
    let mut end = SessionEndInfo::new();
    end.set_status(if run.error.is_some() {
        Status::STATUS_FAILURE
    } else {
        Status::STATUS_SUCCESS
    });
    let mut data = HParamsPluginData::new();
    data.set_session_end_info(end);
    events.write_values(0, [value("_hparams_/session_end_info", &data)])?;
    Ok(events.flush()?)
}

fn experiment(sweep: &Sweep, results: &Results) -> Experiment {
    let mut experiment = Experiment::new();
    experiment.set_name(sweep.name.clone());
    for axis in &sweep.space.axes {
        experiment.mut_hparam_infos().push(hparam(axis));
    }
    for name in std::iter::once(sweep.metric.as_str()).chain(results.other_metrics()) {
        let mut metric = MetricInfo::new();
        metric.mut_name().set_tag(name.to_owned());
        metric.set_display_name(name.to_owned());
        if sweep.split == ScoredSplit::Validation {
            metric.set_dataset_type(DatasetType::DATASET_VALIDATION);
        }
        experiment.mut_metric_infos().push(metric);
    }
    experiment
}

fn hparam(axis: &Axis) -> HParamInfo {
    let mut info = HParamInfo::new();
    info.set_name(axis.key.clone());
    let mut interval = |low: f64, high: f64| {
        let mut interval = Interval::new();
        interval.set_min_value(low);
        interval.set_max_value(high);
        info.set_field_type(DataType::DATA_TYPE_FLOAT64);
        info.set_domain_interval(interval);
    };
    match &axis.domain {
        Domain::Uniform(low, high) | Domain::LogUniform(low, high) => interval(*low, *high),
        Domain::Integer(low, high) => interval(*low as f64, *high as f64),
        Domain::List(values) => {
            info.set_field_type(data_type(values));
            let mut list = ListValue::new();
            for value in values {
                list.mut_values().push(proto(value));
            }
            info.set_domain_discrete(list);
        }
    }
    info
}

fn data_type(values: &[Value]) -> DataType {
    if values.iter().all(|value| value.is_integer() || value.is_float()) {
        DataType::DATA_TYPE_FLOAT64
    } else if values.iter().all(Value::is_bool) {
        DataType::DATA_TYPE_BOOL
    } else {
        DataType::DATA_TYPE_STRING
    }
}

/// Converts a value to a number, boolean or text, the types of the tab.
fn proto(value: &Value) -> ProtoValue {
    let mut proto = ProtoValue::new();
    match value {
        Value::Integer(number) => proto.set_number_value(*number as f64),
        Value::Float(number) => proto.set_number_value(*number),
        Value::Boolean(truth) => proto.set_bool_value(*truth),
        other => proto.set_string_value(format_value(other)),
    }
    proto
}

fn value(tag: &str, data: &HParamsPluginData) -> Summary_Value {
    plugin_value(tag, "hparams", data.write_to_bytes().unwrap_or_default())
}
