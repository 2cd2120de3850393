"""Files for ExecuTorch with its XNNPACK backend."""
