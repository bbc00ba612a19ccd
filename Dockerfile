# The arena on stored answers; the run folder is mounted. Build: docker build -t adapter-arena .
FROM python:3.11-slim

RUN useradd --create-home --uid 10001 arena
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY toolkit ./toolkit
COPY apps ./apps
RUN pip install --no-cache-dir --constraint constraints.txt ".[postgres,oidc]"

USER arena
EXPOSE 8501
ENTRYPOINT ["adapter-arena"]
CMD ["serve", "/results/run", "--host", "0.0.0.0"]
