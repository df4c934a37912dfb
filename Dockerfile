# CPU:         docker build -t yolo-sam .
# NVIDIA GPU:  docker build -t yolo-sam --build-arg DEVICE=cuda .
# docs/container.md shows how to run it.
ARG DEVICE=cpu

FROM python:3.12-slim-bookworm AS cpu
FROM pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime AS cuda

FROM ${DEVICE}

# What opencv-python loads, and a C compiler for the packages of sam2 that have no wheels.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY requirements.txt .
# With PIP_EXTRA_INDEX_URL, pip looks for packages there, too; torch has an index of small CPU builds.
ARG PIP_EXTRA_INDEX_URL=""
# hadolint ignore=DL3013
RUN pip install --no-cache-dir -U setuptools \
    && SAM2_BUILD_CUDA=0 pip install --no-cache-dir --no-build-isolation -r requirements.txt

COPY . .
# Any user may run it: weights are downloaded to yolo/ and sam/, results go to outputs/.
RUN mkdir -p outputs && chmod -R a+rwX outputs yolo sam

ENTRYPOINT ["python"]
CMD ["yolo_sam.py"]
