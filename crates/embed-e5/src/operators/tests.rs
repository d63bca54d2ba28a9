//! An operator that panics, on one thread and on several, under ONNX Runtime itself.
