//! GPUs, with a machine that only claims to have them.

use plan::observation::ErrorClass;
use provider::{LaunchRequest, Provider};
use provider_local::Gpu;

use crate::bench::{Bench, Mode};

pub(crate) fn are_handed_out_once() {
    let bench = Bench::with(Mode::WithoutNamespaces, |options| {
        let gpu = |index| Gpu {
            index,
            name: Some("NVIDIA A100-SXM4-40GB".into()),
        };
        options.machine.gpus = vec![gpu(0), gpu(1)];
    });
    let run = "echo gpus=[$CUDA_VISIBLE_DEVICES] count=$SKYPILOT_NUM_GPUS_PER_NODE; sleep 1000";
    let with = |count: f64| -> LaunchRequest {
        let mut request = bench.request(run);
        request.resources.accelerators = Some(("A100".into(), count));
        request
    };
    let (first, second) = (with(1.0), with(0.5));
    bench.launch(&first);
    bench.launch(&second);
    bench.logged(&first, "gpus=[0] count=1\n");
    bench.logged(&second, "gpus=[1] count=1\n");
    let none = bench.request(run);
    bench.launch(&none);
    bench.logged(&none, "gpus=[] count=0\n");

    let third = with(1.0);
    let error = bench.block_on(bench.provider.launch(&third)).unwrap_err();
    assert_eq!(error.class, ErrorClass::NoCapacity);
    assert!(
        error.message.contains("2 A100 GPUs, 0 of them free"),
        "{error}"
    );
    assert!(!bench.dir(&third).root().exists());

    bench.terminate(&first);
    bench.launch(&third);
    bench.logged(&third, "gpus=[0] count=1\n");
    for request in [&second, &third, &none] {
        bench.terminate(request);
    }
}
