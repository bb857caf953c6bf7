# /// probe
# name = "tensorflow-serving-request"
# framework = "tensorflow"
# stack = "serving"
# proves = "A request to TF Serving is built, serialized and parsed with this TensorFlow's tensors."
# required = true
# timeout = 60
# ///
"""Build a PredictRequest and its response, send both through their bytes, and read the tensors.

The messages of tensorflow-serving-api hold TensorFlow's own TensorProto, so both distributions, and
the protobuf between them, have to agree; that shows on import or here. Numbers are only copied:
equality is exact. No server is asked: whether one answers is not proved.
"""

import json
import os
import time
from importlib import metadata

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

MODEL, VERSION, SIGNATURE = "probe", 3, "serving_default"
TYPES = ("float32", "float64", "int64", "int32", "bool")


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    nonce = os.environ["ENVMATRIX_NONCE"]
    line = {"probe": "tensorflow-serving-request", "nonce": nonce, **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def check_tensors(tensors: object, expected: dict, where: str) -> None:
    """Assert that the tensors of a message are those that were put into it."""
    assert set(tensors) == set(expected), f"{where} holds {sorted(tensors)}"
    for name, array in expected.items():
        read = tf.make_ndarray(tensors[name])
        same = read.dtype == array.dtype and np.array_equal(read, array)
        assert same, f"{where}, {name}: {read} of {read.dtype}, expected {array}"


def main() -> None:
    """Run the probe."""
    started = time.perf_counter()
    arrays = {name: np.arange(6).reshape(2, 3).astype(name) for name in TYPES}
    arrays["text"] = np.array([b"one", b"two"], dtype=object)

    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL
    request.model_spec.version.value = VERSION
    request.model_spec.signature_name = SIGNATURE
    response = predict_pb2.PredictResponse()
    for name, array in arrays.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        response.outputs[name].CopyFrom(tf.make_tensor_proto(array))

    sent = request.SerializeToString()
    received = predict_pb2.PredictRequest.FromString(sent)
    spec = received.model_spec
    addressed = (spec.name, spec.version.value, spec.signature_name)
    assert addressed == (MODEL, VERSION, SIGNATURE), f"the request is for {addressed}"
    check_tensors(received.inputs, arrays, "the request")
    answered = predict_pb2.PredictResponse.FromString(response.SerializeToString())
    check_tensors(answered.outputs, arrays, "the response")
    stub = prediction_service_pb2_grpc.PredictionServiceStub
    assert callable(stub), "there is no client of the prediction service"
    report(
        observed={
            "tensorflow_serving_api": metadata.version("tensorflow-serving-api"),
            "protobuf": metadata.version("protobuf"),
            "request_bytes": len(sent),
            "types": sorted(arrays),
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
