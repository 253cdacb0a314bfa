"""How a network is executed: plain PyTorch, OpenVINO, compiled layers for CPU and GPU, and files for other runtimes."""
