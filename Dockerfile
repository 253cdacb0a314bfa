# vocbench with everything it needs, for the CPU by default and for CUDA by a build argument; docs/docker.md says how.
FROM python:3.12-slim

# g++ compiles OWAN's layers on the machine that runs them; libgl1 and libglib2.0-0 are OpenCV's
RUN apt-get update \
    && apt-get install --no-install-recommends -y g++ libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# cpu, or a CUDA version of PyTorch's index such as cu126
ARG TORCH=cpu
RUN pip install --no-cache-dir torch torchvision --index-url "https://download.pytorch.org/whl/${TORCH}"

ARG EXTRAS=demo,export
COPY . /src
RUN pip install --no-cache-dir "/src[${EXTRAS}]" && rm -rf /src

# weights and compiled layers are kept in /cache, photos and results in /work
RUN useradd --create-home vocbench && mkdir /cache /work && chown vocbench /cache /work
USER vocbench
ENV VOCBENCH_CACHE=/cache
VOLUME /cache
WORKDIR /work
EXPOSE 7860
ENTRYPOINT ["vocbench"]
CMD ["--help"]
