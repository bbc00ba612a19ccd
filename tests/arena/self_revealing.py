"""Answers that name their author, and answers that only talk about models; written for these tests."""

from __future__ import annotations

REVEALING = """\
I am Qwen, a large language model created by Alibaba Cloud.
I'm ChatGPT, so I cannot browse the web.
I am a large language model trained by OpenAI.
As an AI language model developed by OpenAI, I do not have opinions.
My name is Claude and I was made by Anthropic.
I was created by Anthropic to be helpful.
I'm Gemini, a model from Google.
I'm an AI assistant made by Meta.
As a language model trained by Google, I can help with that.
You can call me Llama.
I am called Vicuna.
This is Mistral. How may I help?
I'm Claude 3.5 Sonnet. The answer is four.
Hello! I'm DeepSeek-V3, happy to help.
I was trained by a team of researchers at Stanford and Meta AI.
I, Gemini, would recommend the second one.
As ChatGPT, I don't have personal experiences.
As GPT-4, I can tell you that the answer is 7.
My creators at OpenAI decided that.
My developers at Anthropic taught me to be careful.
OpenAI created me to assist people.
I am an AI model by Mistral AI.
I'm based on text I read, but I am SmolLM, a small model.
Sure! I am Phi-3, developed by Microsoft.
I'm a chatbot developed by Hugging Face.
I have been trained by DeepSeek to answer such questions.
I'm Grok, built by xAI.
I am Bard, your creative collaborator.
I am Alpaca, a fine-tuned model.
My model name is Falcon.
The company that created me is OpenAI.
I am just Llama, an open model, after all.
I'm actually GPT-4.
Well, I am a model called Zephyr.
I am tinyllama-dpo and I answer briefly.
I was fine-tuned by Alibaba Group for chat.
I'm an artificial intelligence created by Google DeepMind.
I go by Gemma.
I am the AI assistant Claude.
I was developed at Tsinghua University.
Me llamo ChatGPT y soy un modelo de lenguaje.
Soy un modelo de lenguaje entrenado por OpenAI.
Soy Gemini, un asistente.
Je m'appelle Mistral.
Je suis Claude, un assistant.
J'ai \u00e9t\u00e9 cr\u00e9\u00e9 par Anthropic.
Ich bin ChatGPT.
Ich bin ein Sprachmodell, das von OpenAI entwickelt wurde.
Ich wurde von Google trainiert.
Eu sou o ChatGPT, um modelo de linguagem.
Sono Gemini, un modello di Google.
\u6211\u662f Qwen\uff0c\u7531\u963f\u91cc\u5df4\u5df4\u5f00\u53d1\u3002
\u6211\u53eb DeepSeek\u3002
"""

HARMLESS = """\
Llama is a family of models released by Meta.
The llama is a domesticated animal of South America.
I am reading about Claude Monet at the moment.
Claude Debussy was born in 1862.
My friend Claude called me yesterday.
I'm a big fan of the Gemini space programme.
As a Gemini, you may like change.
I am happy to compare ChatGPT and Claude for you.
Google was founded by Larry Page and Sergey Brin.
The model was trained by OpenAI on a large corpus.
This is the Falcon 9, a rocket made by SpaceX.
GPT-4 scored 86.4 on MMLU.
The dataset was created by Google and is free.
As trained by Google, the network has 12 layers.
I cannot say which of Qwen and Gemma is better.
Windows is developed by Microsoft.
I am not ChatGPT and cannot browse.
The mistral is a cold wind in the south of France.
"I am Claude," said the painter, and bowed.
The phone is made by Apple.
In the base of the lamp there is a switch.
The student solved it and the teacher praised the student.
I am using Gemini to plan my trip.
Write to support@openai.com for help.
I am a language model and have no opinions.
As an AI, I do not have feelings.
I was trained on text until 2023.
The assistant was made by the company for its customers.
Koalas eat eucalyptus leaves.
Dolly was the first cloned sheep.
A falcon is a bird of prey.
Bard is another word for a poet.
Vicuna wool is very fine.
I'm looking for alpaca yarn.
I used to work at Microsoft as an engineer.
I was hired by Google in 2010, the speaker says.
This is about the Zephyr train from Chicago.
Phi is the golden ratio.
The Pythia was the oracle of Delphi.
To grok something is to understand it.
A paper by Anthropic describes the method.
My name is Anna and I live in Bern.
I am called upon to answer.
Call me when you arrive at the Apple store.
OpenAI released GPT-4 in March 2023.
Is ChatGPT better than Bard?
The nova was seen in 1054.
Granite is an igneous rock.
Copilot and pilot share the controls.
I am from a small town near Amazon's headquarters.
The copy was made by IBM.
I'm sure Claude will come.
Mixtral is a mixture of experts.
Ich bin in Berlin geboren.
Je suis d'accord avec vous.
Soy de Madrid.
"""
